"""An image or a clip through one tokenizer, its codes open to be looked at and changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from tokbench.clip_reconstruction import decode_clip, encode_clip
from tokbench.config.grid import axes
from tokbench.data.maps import read_sample, visible
from tokbench.data.pixels import to_channels
from tokbench.data.video import Video
from tokbench.errors import TokbenchError, counted
from tokbench.explore.code_map import code_map, place_text, places, position_at, position_of, whole_numbers
from tokbench.memory import IMAGE_TOO_LARGE, explained
from tokbench.metrics.registry import get
from tokbench.models import Tokenizer
from tokbench.models.prefixes import Prefix
from tokbench.pictures import to_pil, zoomed
from tokbench.reconstruction import FILMS, OF_MAPS, decode_image, encode_image, of_pair

SMALLEST, FULL = 384, 64
"""Pixels a side that an image is shown with at least; levels of error that are shown as the brightest colour."""


class View(NamedTuple):
    """What a page shows of one tokenizer."""

    image: Image.Image
    codes: Image.Image
    caption: str


class Seen:
    """``original``: a sample (C, H, W), or a clip (C, T, H, W). ``position``: the one that is marked.

    Raises:
        TokbenchError: a clip where the tokenizer takes images, or a size that it does not take.
    """

    def __init__(self, tokenizer: Tokenizer, original: Tensor) -> None:
        self.tokenizer, self.original, self.position = tokenizer, original, 0
        self._prefixes = tokenizer.prefixes()
        self._refines = len(self._prefixes) > 1
        with explained("encoding", *IMAGE_TOO_LARGE):
            self.encoded = (encode_image if original.ndim == 3 else encode_clip)(tokenizer, original)
        self.codes, self.grid = self.encoded, tuple(self.encoded.shape[1:-1])
        self.where = places(self.grid, tokenizer.quantizer)
        self._made: dict[Prefix, tuple[Tensor, list[str]]] = {}  # samples and their figures

    @property
    def frames(self) -> int:
        """Of a clip; 1 of an image."""
        return self.original.shape[1] if self.original.ndim == 4 else 1

    def view(self, step: int, *, frame: int = 0, error: bool = False) -> View:
        """What the codes up to ``step``, from 1, give: an image or its error, the map of the last of them, figures."""
        prefix = self._prefixes[step - 1 if self._refines else -1]
        whole, figures = self._decoded(prefix)
        original, made = (self._frame(sample, frame) for sample in (self.original, whole))
        shown = error_map(original, made, self.tokenizer.config.kind) if error else self._image(made)
        depth = prefix.depth if self._refines else step
        codes = self.codes[0, ..., depth - 1].flatten().cpu()
        if prefix.positions is not None:
            codes = torch.where(torch.arange(len(codes)) < prefix.positions, codes, -1)
        return View(shown, code_map(codes, self.where, self.position), self._caption(prefix, figures))

    def shown_original(self, frame: int = 0) -> Image.Image:
        """The original as the tokenizer's images are."""
        return self._image(self._frame(self.original, frame))

    # The marked position -----------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """Where it is, as it is typed."""
        return place_text(self.position, self.grid)

    @property
    def at(self) -> str:
        """Its codes."""
        return ", ".join(map(str, self.codes[0].flatten(0, -2)[self.position].tolist()))

    def mark(self, text: str) -> None:
        """Mark the position that was typed. TokbenchError where there is none such."""
        self.position = position_of(text, self.grid)

    def mark_pixel(self, x: int, y: int) -> None:
        """Mark the position under a pixel of the map; nothing changes beside all of them."""
        found = position_at(x, y, self.where)
        self.position = self.position if found is None else found

    def change(self, text: str) -> None:
        """Put other codes at the marked position. TokbenchError where they are not ones of the quantizer."""
        sizes, numbers = self._sizes(), whole_numbers(text)
        if len(numbers) != len(sizes) or not all(n < size for n, size in zip(numbers, sizes, strict=False)):
            below = ", ".join(f"below {size:,}" for size in dict.fromkeys(sizes))
            raise TokbenchError(f"codes {text!r}: give {counted(len(sizes), 'whole number')}, {below}")
        changed = self.codes.clone()
        changed[0].flatten(0, -2)[self.position] = torch.tensor(numbers, device=changed.device)
        self._take(changed)

    def _sizes(self) -> list[int]:
        """Codes that there are at the marked position, of each depth."""
        quantizer = self.tokenizer.quantizer
        own = quantizer.position_sizes(self.grid)
        return [own[self.position]] if own else [int(k) for k in quantizer.codebook_sizes]

    def restore(self) -> None:
        """The codes as they were encoded."""
        self._take(self.encoded)

    def _take(self, codes: Tensor) -> None:
        self.codes = codes
        self._made.clear()

    # Figures -----------------------------------------------------------------------------------------------------

    def _decoded(self, prefix: Prefix) -> tuple[Tensor, list[str]]:
        if prefix not in self._made:
            part, size = prefix.of(self.codes), tuple(self.original.shape[1:])
            with explained("decoding", *IMAGE_TOO_LARGE):
                if self.original.ndim == 3:
                    made = decode_image(self.tokenizer, part, (size[0], size[1]))
                else:
                    made = decode_clip(self.tokenizer, part, size)
            self._made[prefix] = made, scores(self.tokenizer, self.original, made)
        return self._made[prefix]

    def _caption(self, prefix: Prefix, scored: list[str]) -> str:
        quantizer, positions = self.tokenizer.quantizer, prefix.positions or math.prod(self.grid)
        own, sizes = quantizer.position_sizes(self.grid), quantizer.codebook_sizes[: prefix.depth]
        bits = math.fsum(map(math.log2, own[:positions])) if own else positions * math.fsum(map(math.log2, sizes))
        part = f" ({prefix.name})" if self._refines else ""
        figures = [f"{bits:,.0f} bits{part}", f"{bits / math.prod(self.original.shape[1:]):.3f} bpp", *scored]
        changed = int((self.codes != self.encoded).any(-1).sum())
        return " · ".join([*figures, *([f"{counted(changed, 'position')} changed"] if changed else [])])

    def _frame(self, sample: Tensor, frame: int) -> Tensor:
        return sample if sample.ndim == 3 else sample[:, min(frame, sample.shape[1] - 1)]

    def _image(self, sample: Tensor) -> Image.Image:
        return enlarged(to_pil(visible(sample, self.tokenizer.config.kind)))


def steps_of(tokenizer: Tokenizer) -> tuple[list[str], bool]:
    """What can be looked at in turn, the whole last: the prefixes that decode (then True), or where only the whole
    does, its depths."""
    prefixes = tokenizer.prefixes()
    if len(prefixes) > 1:
        return [prefix.name for prefix in prefixes], True
    return [f"code {depth + 1}" for depth in range(len(tokenizer.quantizer.codebook_sizes))], False


def read(path: Path, tokenizer: Tokenizer) -> Tensor:
    """A file as the tokenizer's samples are: an image or map (C, H, W), or of a video as many frames (C, T, H, W) from
    its first on as the tokenizer's clips have.

    Raises:
        TokbenchError: a file that is neither, a damaged one, or a video where the tokenizer takes images.
    """
    config = tokenizer.config
    if path.suffix.lower() not in FILMS:
        return read_sample(path, config.kind, config.channels)
    size = axes(config.image_size)
    if len(size) != 3:
        raise TokbenchError(
            f"{path.name}: this is a video, and the tokenizer's {config.model.architecture} takes images"
        )
    with Video(path, name=path.name) as video:
        frames = torch.from_numpy(video.frames(range(min(size[0], len(video)))))
    return rearrange(to_channels(rearrange(frames, "t h w c -> t c h w"), config.channels), "t c h w -> c t h w")


def scores(tokenizer: Tokenizer, original: Tensor, made: Tensor) -> list[str]:
    """``PSNR 26.04 dB`` and so on, or why there is none."""
    config, said = tokenizer.config, []
    for name in OF_MAPS.get(config.kind, ("psnr", "lpips")):
        metric = get(name)
        if (why := metric.no_value(tuple(original.shape[1:]), config.kind, "")) is not None:
            said.append(why)
            continue
        value, digits = of_pair(name, original[None], made[None], config.channels), metric.definition.shown.digits
        said.append(f"{metric.label} {value:.{4 if digits is None else digits}f} {metric.definition.unit}".strip())
    return said


def error_map(original: Tensor, made: Tensor, kind: str) -> Image.Image:
    """How far two samples (C, H, W) are apart, pixel by pixel: black where they are equal, brightest from ``FULL``
    levels of 255 on (the mean over channels); of label maps where they differ."""
    import matplotlib

    if kind == "labels":
        distance = (original != made).float().mean(0)
    else:
        low, high = (0.0, 255.0) if kind == "image" else (-1.0, 1.0)
        distance = (original.float() - made.float()).abs().mean(0) / ((high - low) * FULL / 255)
    coloured = matplotlib.colormaps["inferno"](distance.clamp(0, 1).numpy(), bytes=True)[..., :3]
    return enlarged(Image.fromarray(coloured))


def enlarged(image: Image.Image) -> Image.Image:
    """The image with whole pixels made of each of its own, where it is small."""
    return zoomed(image, -(-SMALLEST // max(image.size)))
