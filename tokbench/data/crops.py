"""Every way a picture becomes a square, by name; the protocols name the one they evaluate with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tokbench.data.adm import adm_center_crop, shrink_to
from tokbench.data.draws import below, uniforms
from tokbench.data.media import PICTURES, Media
from tokbench.data.pixels import check_channels, load_image, to_channels, to_tensor
from tokbench.errors import TokbenchError, did_you_mean, shown
from tokbench.results.entries import GREY

CropFunction = Callable[[Image.Image, int], Image.Image]


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """Short side to ``size`` by antialiased bicubic in one step, then the middle square."""
    return _middle(_short_side(image, size, Image.Resampling.BICUBIC), size)


def bilinear_center_crop(image: Image.Image, size: int) -> Image.Image:
    """Short side to ``size`` by antialiased bilinear, then the middle square: torchvision's Resize and CenterCrop."""
    width, height = image.size
    # torchvision truncates the long side and rounds the offset half to even, where the others do the reverse.
    tall = height >= width
    image = image.resize(
        (size, int(size * height / width)) if tall else (int(size * width / height), size), Image.Resampling.BILINEAR
    )
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def taming_center_crop(image: Image.Image, size: int) -> Image.Image:
    """Short side to ``size`` by bilinear *without* antialiasing, then the middle square: taming-transformers.

    There: albumentations ``SmallestMaxSize`` (OpenCV's INTER_LINEAR) and ``CenterCrop``. OpenCV interpolates in
    fixed point; here it is float32 and rounded, so single bytes may differ by one.
    """
    scale = size / min(image.size)
    high, wide = round(image.height * scale), round(image.width * scale)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (high, wide), mode="bilinear", align_corners=False)
    array = resized[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return _middle(Image.fromarray(array), size)


def exact(image: Image.Image, size: int) -> Image.Image:
    """The picture as it is. Raises ValueError where it is not ``size`` x ``size`` already."""
    if image.size != (size, size):
        raise ValueError(f"is {image.width}x{image.height}, and crop 'none' takes only {size}x{size}")
    return image


def random_crop(image: Image.Image, size: int, draws: tuple[float, float, float]) -> Image.Image:
    """ADM's training crop: short side to a random size in [size, size / 0.8], then a random square.

    ``draws`` are three numbers in [0, 1): scale, top, left. Source: guided-diffusion ``random_crop_arr``.
    """
    image = shrink_to(image, size + below(math.ceil(size / 0.8) - size + 1, draws[0]))
    top, left = below(image.height - size + 1, draws[1]), below(image.width - size + 1, draws[2])
    return image.crop((left, top, left + size, top + size))


def _short_side(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    scale = size / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), resampling)


def _middle(image: Image.Image, size: int) -> Image.Image:
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


CROPS: dict[str, CropFunction] = {
    "adm": adm_center_crop,
    "center": center_crop,
    "bilinear": bilinear_center_crop,
    "taming": taming_center_crop,
    "none": exact,
}
"""Crops without chance. ``random`` is the one with it and is the usual one for training."""


@dataclass(frozen=True)
class Protocol:
    """How a paper's evaluation makes its pictures square. Figures of different protocols share no column."""

    name: str
    crop: str
    source: str

    def __call__(self, image: Image.Image, size: int) -> Image.Image:
        """RGB picture -> RGB picture of ``size`` x ``size``."""
        return CROPS[self.crop](image, size)


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("tokbench-v1", "adm", "tokbench's own: the ADM centre crop, metrics on 8-bit pixels"),
        Protocol("adm", "adm", "openai/guided-diffusion, image_datasets.center_crop_arr"),
        Protocol("llamagen", "adm", "FoundationVision/LlamaGen, dataset/augmentation.py center_crop_arr (as ADM)"),
        Protocol("taming", "taming", "CompVis/taming-transformers, taming/data/base.py: SmallestMaxSize, CenterCrop"),
        Protocol("rqvae", "bilinear", "kakaobrain/rq-vae-transformer, img_datasets/transforms.py: Resize, CenterCrop"),
        Protocol("center", "center", "antialiased bicubic in one step, then the middle square"),
        Protocol("none", "none", "pictures that have the size already; others are left out"),
    )
}


def protocol_of(crop: str) -> str:
    """The protocol's name that a crop without chance stands for: ``adm`` is tokbench's own."""
    return next((p.name for p in PROTOCOLS.values() if p.crop == crop), crop)


@dataclass(frozen=True)
class View:
    """What is done to a decoded picture before it is a sample: size, crop, flip, the seed of both, and channels."""

    image_size: int
    crop: str
    flip: bool = False
    seed: int = 0
    channels: int = 3

    media: ClassVar[Media] = PICTURES

    def __post_init__(self) -> None:
        if not isinstance(self.image_size, int):
            raise TokbenchError(f"image_size is {shown(self.image_size)}; it must be one number: the side of a square")
        if self.image_size < 1:
            raise TokbenchError(f"image_size is {self.image_size}; it must be at least 1")
        check_channels(self.channels)
        if self.crop != "random" and self.crop not in CROPS:
            raise TokbenchError(f"no crop is called {self.crop!r}{did_you_mean(self.crop, [*CROPS, 'random'])}")

    @property
    def protocol(self) -> str:
        """What figures on these samples are called by."""
        return self.named(protocol_of(self.crop))

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

    needs_facts: ClassVar[bool] = False  # whether samples are known only when every file was examined

    @property
    def examines(self) -> str:
        """What ``examine`` depends on, beside the file."""
        return str(self.image_size) if self.crop == "none" else ""

    def examine(self, loaded: Any) -> list[int]:
        """Make sure that ``take`` works on it; numbers on what is in it. Raises UnreadableImage, ValueError."""
        if self.crop == "none":
            self(loaded, 0, 0)
        return []

    def starts(self, facts: Sequence[int]) -> list[int] | None:
        """Where the samples of an examined file begin; None where each file is one."""
        return None

    def remarks(self, facts: dict[str, list[int]]) -> list[str]:
        """Lines on the examined files together, by name."""
        return []

    def seen(self, square: Tensor) -> Tensor:
        """uint8 RGB (3, S, S) as the sample has it: (channels, S, S)."""
        return to_channels(square, self.channels)

    @property
    def random(self) -> bool:
        """Whether the same picture differs from epoch to epoch."""
        return self.flip or self.crop == "random"

    def __call__(self, image: Image.Image, epoch: int, index: int) -> Image.Image:
        """RGB picture -> square RGB picture, a pure function of the picture and (seed, epoch, index)."""
        if not self.random:
            return CROPS[self.crop](image, self.image_size)
        scale, top, left, flip = uniforms(4, self.seed, epoch, index)
        if self.crop == "random":
            image = random_crop(image, self.image_size, (scale, top, left))
        else:
            image = CROPS[self.crop](image, self.image_size)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip and flip < 0.5 else image

    def describe(self) -> str:
        """A line for the record: everything that decides the pixels."""
        text = f"{self.image_size}x{self.image_size}, crop {self.crop}" + (", flips" if self.flip else "")
        text += ", grey" if self.channels == 1 else ""
        return text + (f", seed {self.seed}" if self.random else "")
