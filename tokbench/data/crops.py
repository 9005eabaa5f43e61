"""Ways an image gets its size, and the view that does it.

A size of two different sides is covered and cropped as a square is: scaled until both sides suffice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tokbench.config.crop import CHANCE, CROPS, RANDOM, RANDOM_CUT, crop
from tokbench.config.grid import Size, axes, checked_size
from tokbench.config.kind import Kind, check_channels
from tokbench.data.adm import covering, middle, shrink_to
from tokbench.data.draws import below, uniforms
from tokbench.data.media import IMAGES, Media
from tokbench.data.pixels import load_image, to_channels, to_tensor
from tokbench.errors import TokbenchError, size_text
from tokbench.results.entries import GREY


@crop("center", {"center": "antialiased bicubic in one step, then the middle square"})
def center_crop(image: Image.Image, size: Size) -> Image.Image:
    """Just large enough by antialiased bicubic in one step, then the middle."""
    height, width = axes(size)
    scale = covering(image, height, width)
    scaled = (round(image.width * scale), round(image.height * scale))
    return middle(image.resize(scaled, Image.Resampling.BICUBIC), height, width)


@crop("bilinear", {"rqvae": "kakaobrain/rq-vae-transformer, img_datasets/transforms.py: Resize, CenterCrop"})
def bilinear_center_crop(image: Image.Image, size: Size) -> Image.Image:
    """Just large enough by antialiased bilinear, then the middle: torchvision's Resize and CenterCrop."""
    (height, width), (wide, high) = axes(size), image.size
    # torchvision truncates the long side and rounds the offset half to even, where the others do the reverse.
    tall = high * width >= wide * height
    image = image.resize(
        (width, int(width * high / wide)) if tall else (int(height * wide / high), height), Image.Resampling.BILINEAR
    )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


@crop("taming", {"taming": "CompVis/taming-transformers, taming/data/base.py: SmallestMaxSize, CenterCrop"})
def taming_center_crop(image: Image.Image, size: Size) -> Image.Image:
    """Just large enough by bilinear *without* antialiasing, then the middle: taming-transformers.

    There: albumentations ``SmallestMaxSize`` (OpenCV's INTER_LINEAR) and ``CenterCrop``. OpenCV interpolates in
    fixed point; here it is float32 and rounded, so single bytes may differ by one.
    """
    height, width = axes(size)
    scale = covering(image, height, width)
    high, wide = round(image.height * scale), round(image.width * scale)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (high, wide), mode="bilinear", align_corners=False)
    array = resized[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return middle(Image.fromarray(array), height, width)


@crop("none", {"none": "images that have the size already; others are left out"})
def exact(image: Image.Image, size: Size) -> Image.Image:
    """The image as it is. Raises ValueError where it has not that size already."""
    if (image.height, image.width) != axes(size):
        given = size_text((image.height, image.width))
        raise ValueError(f"is {given} (height x width), and crop 'none' takes only {size_text(size)}")
    return image


@crop("cut", {"cut": "the middle of the image as it is, not rescaled"})
def middle_cut(image: Image.Image, size: Size) -> Image.Image:
    """The middle at the image's own scale. Raises ValueError where it is smaller than that."""
    return middle(_large_enough(image, size), *axes(size))


def random_cut(image: Image.Image, size: Size, draws: tuple[float, float]) -> Image.Image:
    """A random place at the image's own scale, whose top and left follow from two numbers in [0, 1). Raises ValueError
    where the image is smaller.

    As VQ-GAN trains its generators on patches (Esser et al. 2021, arXiv:2012.09841, section 3.2): every patch then has
    the scale of the images that a window draws out of such patches.
    """
    return _placed(_large_enough(image, size), size, draws)


def _placed(image: Image.Image, size: Size, draws: tuple[float, float]) -> Image.Image:
    height, width = axes(size)
    top, left = below(image.height - height + 1, draws[0]), below(image.width - width + 1, draws[1])
    return image.crop((left, top, left + width, top + height))


def _large_enough(image: Image.Image, size: Size) -> Image.Image:
    if image.height < axes(size)[0] or image.width < axes(size)[1]:
        given = size_text((image.height, image.width))
        raise ValueError(f"is {given} (height x width), and the crop takes {size_text(size)} of it without rescaling")
    return image


def random_crop(image: Image.Image, size: Size, draws: tuple[float, float, float]) -> Image.Image:
    """ADM's training crop: shrunk to cover 1 to 1 / 0.8 times the size, by chance, then a random place.

    ``draws`` are three numbers in [0, 1): scale, top, left. Source: guided-diffusion ``random_crop_arr``.
    """
    height, width = axes(size)
    short = min(height, width)
    zoomed = short + below(math.ceil(short / 0.8) - short + 1, draws[0])
    image = shrink_to(image, round(height * zoomed / short), round(width * zoomed / short))
    return _placed(image, size, draws[1:])


OWN_SCALE = ("none", "cut", RANDOM_CUT)  # which not every image is large enough for


@dataclass(frozen=True)
class View:
    """What is done to a decoded image before it is a sample: size, crop, flip, the seed of both, and channels."""

    image_size: Size
    crop: str
    flip: bool = False
    seed: int = 0
    channels: int = 3

    media: ClassVar[Media] = IMAGES

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", checked_size(self.image_size, "image_size"))
        if len(axes(self.image_size)) != 2:
            raise TokbenchError(f"image_size is {size_text(self.image_size)}; this source has images, not clips")
        if wrong := check_channels(self.kind, self.channels):
            raise TokbenchError(wrong)
        if self.crop not in CHANCE:
            CROPS.get(self.crop)

    @property
    def kind(self) -> Kind:
        """What the samples are; of others than images see ``tokbench.data.map_view``."""
        return "image"

    @property
    def size(self) -> Size:
        """Of a sample."""
        return self.image_size

    @property
    def protocol(self) -> str:
        """What figures on these samples are called by."""
        return self.named(self.crop if self.crop in CHANCE else CROPS.get(self.crop).protocol)

    def named(self, protocol: str) -> str:
        """A protocol's name for these samples; those of grey and of colour never meet."""
        return protocol + (GREY if self.channels == 1 else "")

    def load(self, encoded: bytes | Path, name: str, start: int | None = None) -> Any:
        """A file, or its bytes, as what ``take`` makes a sample of. Raises UnreadableImage.

        ``start`` is for those of which several samples are made; see :class:`~tokbench.data.clip_view.ClipView`.
        """
        return load_image(encoded, name=name)

    def take(self, loaded: Any, epoch: int, index: int) -> tuple[Tensor, str]:
        """(uint8 (channels, S, S), what the sample's id has beside the file's). Raises ValueError for a wrong size."""
        return self.seen(to_tensor(self(loaded, epoch, index))), ""

    frame_rate: ClassVar[float | None] = None  # frames a second of a clip, where the settings say it

    def rate_of(self, facts: Sequence[int]) -> float | None:
        """The same of the clips of an examined file, where it is known."""
        return self.frame_rate

    needs_facts: ClassVar[bool] = False  # whether samples are known only when every file was examined

    @property
    def examines(self) -> str:
        """What ``examine`` depends on, beside the file."""
        if self.crop == "none":
            return str(self.image_size)
        return f"cut {self.image_size}" if self.crop in OWN_SCALE else ""

    def examine(self, loaded: Any) -> list[int]:
        """Make sure that ``take`` works on it; numbers on what is in it. Raises UnreadableImage, ValueError."""
        if self.crop in OWN_SCALE:
            self(loaded, 0, 0)
        return []

    def starts(self, facts: Sequence[int]) -> list[int] | None:
        """Where the samples of an examined file begin; None where each file is one."""
        return None

    def remarks(self, facts: dict[str, list[int]]) -> list[str]:
        """Lines on the examined files together, by name."""
        return []

    def seen(self, image: Tensor) -> Tensor:
        """uint8 RGB (3, H, W) as the sample has it: (channels, H, W)."""
        return to_channels(image, self.channels)

    @property
    def random(self) -> bool:
        """Whether the same image differs from epoch to epoch."""
        return self.flip or self.crop in CHANCE

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """RGB image -> RGB image of the size, a pure function of the image and (seed, epoch, index)."""
        if not self.random:
            return CROPS.get(self.crop)(image, self.image_size)
        scale, top, left, flip = uniforms(4, self.seed, epoch, index)
        if self.crop == RANDOM:
            image = random_crop(image, self.image_size, (scale, top, left))
        elif self.crop == RANDOM_CUT:
            image = random_cut(image, self.image_size, (top, left))
        else:
            image = CROPS.get(self.crop)(image, self.image_size)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip and flip < 0.5 else image

    def describe(self) -> str:
        """A line for the record: everything that decides the pixels."""
        text = f"{size_text(self.image_size)}, crop {self.crop}" + (", flips" if self.flip else "")
        return text + self.values + (f", seed {self.seed}" if self.random else "")

    @property
    def values(self) -> str:
        """What the samples' numbers are, where they are not colours."""
        return ", grey" if self.channels == 1 else ""
