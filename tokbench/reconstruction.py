"""Any image of any size through a tokenizer, and back as an image."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench import threads
from tokbench.config.kind import Kind
from tokbench.data.maps import label_file, read_sample, to_model, to_samples, visible
from tokbench.data.media import VIDEOS
from tokbench.data.pixels import UnreadableImage
from tokbench.errors import TokbenchError, size_text
from tokbench.memory import IMAGE_TOO_LARGE, explained
from tokbench.metrics.base import Pairs
from tokbench.metrics.psnr import psnr
from tokbench.metrics.registry import get
from tokbench.metrics.ssim import WINDOW, ssim
from tokbench.models import Tokenizer
from tokbench.models.tokenizer import pad_to_multiple
from tokbench.pictures import grid, save_picture, to_pil
from tokbench.results.targets import check_not_inputs, check_writable

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
FILMS = VIDEOS.suffixes - _SUFFIXES
"""What is taken for a video by its name: a .gif is an image."""
OF_MAPS: dict[Kind, tuple[str, ...]] = {"labels": ("pixel_accuracy", "mean_iou"), "depth": ("depth_rmse",)}
"""The metrics that one label map or depth map is compared by."""
MOST_FRAMES = 97
"""Of a video, from its first on, that are reconstructed unless more are asked for: four seconds."""


@dataclass(frozen=True)
class Reconstructed:
    """One image's or video's figures. ``codes`` is (*grid, D) of its code stack, padding included."""

    name: str
    width: int
    height: int
    codes: tuple[int, ...]
    bits_per_pixel: float
    psnr: float
    ssim: float
    frames: str = ""  # of a video: "97 of 250"
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reconstruction:
    """One image through its codes; all images uint8 (C, H, W), maps as ``tokbench.data.maps`` has them, on the CPU.

    ``stages`` come from the parts of the codes that decode, coarse to fine; ``names`` has theirs, such as ``depth 2``.
    ``codes`` are int64 (*grid, D), those of the padding included. SSIM is NaN where the image is smaller than its
    window. Maps have no PSNR and SSIM (NaN) but ``scores`` by the names of their metrics.
    """

    original: Tensor
    stages: list[Tensor]
    names: list[str]
    codes: Tensor
    bits_per_pixel: float
    psnr: float
    ssim: float
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Tensor:
        """What comes back of all the codes."""
        return self.stages[-1]


def reconstruct_image(tokenizer: Tokenizer, image: Tensor) -> Reconstruction:
    """Image uint8 (C, H, W), or a map, of any sides: those that the downsampling does not divide are padded by
    reflection before and cropped after. The tokenizer is in evaluation mode.
    """
    kind, channels = tokenizer.config.kind, tokenizer.config.channels
    codes = encode_image(tokenizer, image)
    height, width = image.shape[-2:]
    prefixes = tokenizer.prefixes()
    stages = [decode_image(tokenizer, prefix.of(codes), (height, width)) for prefix in prefixes]
    image = image.cpu()
    bits = tokenizer.quantizer.bits_of(codes.shape[1:-1]) / (height * width)
    names = [prefix.name for prefix in prefixes]
    compared = image[None], stages[-1][None]
    if kind != "image":
        scores = {name: of_pair(name, *compared, channels) for name in OF_MAPS[kind]}
        return Reconstruction(image, stages, names, codes[0].cpu(), bits, math.nan, math.nan, scores)
    return Reconstruction(image, stages, names, codes[0].cpu(), bits, *psnr_and_ssim(*compared))


def encode_image(tokenizer: Tokenizer, image: Tensor) -> Tensor:
    """A sample (C, H, W) of any sides -> codes (1, *grid, D), those of the padding included, on the tokenizer's device.

    Raises:
        TokbenchError: the tokenizer takes images of one size, and this is another.
    """
    config, device = tokenizer.config, next(tokenizer.parameters()).device
    factors = config.model.factors
    padded, _ = pad_to_multiple(to_model(image[None].to(device), config.kind, config.channels), factors[-2:])
    try:
        return tokenizer.encode(padded if len(factors) == 2 else padded[:, :, None])  # a clip of one frame
    except ValueError as error:
        raise TokbenchError(str(error)) from None


@torch.no_grad()
def decode_image(tokenizer: Tokenizer, codes: Tensor, size: tuple[int, int]) -> Tensor:
    """Codes of ``encode_image``, or a prefix of them -> the sample (C, H, W) of that size, on the CPU. Raises as it."""
    config = tokenizer.config
    made = tokenizer.decode(codes)
    padded = padded_sides(size, config.model.factors[-2:])
    if tuple(made.shape[-2:]) != padded or made.shape[2:-2] not in ((), (1,)):
        own = size_text(config.image_size)
        raise TokbenchError(f"the tokenizer takes images of {own} only, and this one is {size_text(size)}: resize it")
    made = made.reshape(*made.shape[:2], *padded)
    return to_samples(made[..., : size[0], : size[1]], config.kind)[0].cpu()


def padded_sides(sides: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """What ``pad_to_multiple`` makes of an image's height and width."""
    return tuple(side + -side % factor for side, factor in zip(sides, factors, strict=True))


def reconstruct_files(
    tokenizer: Tokenizer, sources: Sequence[Path], out: Path, *, depths: bool = False, frames: int = MOST_FRAMES
) -> tuple[list[Reconstructed], list[tuple[Path, str]]]:
    """Write ``out/NAME.png``, ``out/side-by-side/NAME.png`` and with ``depths`` ``out/depths/NAME.png``; of a video
    ``NAME.mp4`` in place of the first two, of its first ``frames`` frames.

    They are grey where the tokenizer is, and of label maps in colours; ``out/labels/NAME.png`` then has the numbers.
    Returns the figures, and the files that were skipped with the reason (it names
    the file). Raises TokbenchError when nothing is left.
    """
    rows: list[Reconstructed] = []
    skipped: list[tuple[Path, str]] = []
    kind = tokenizer.config.kind
    named = _named(_files(sources, _SUFFIXES | FILMS if kind == "image" else _SUFFIXES | {".npy"}))
    more = {"depths": depths, "labels": kind == "labels"}
    folders = [out, out / "side-by-side", *(out / folder for folder, wanted in more.items() if wanted)]
    ends = {path: "mp4" if path.suffix.lower() in FILMS else "png" for path in named}
    check_not_inputs([folder / f"{name}.{ends[path]}" for folder in folders for path, name in named.items()], named)
    check_writable(out / "side-by-side" / "any.png")
    for path, name in named.items():
        try:
            threads.adapt()
            if ends[path] == "mp4":
                rows.append(_film(tokenizer, path, out, name, frames))
                continue
            image = read_sample(path, kind, tokenizer.config.channels)
            with explained(f"reconstructing {path}", *IMAGE_TOO_LARGE):
                made = reconstruct_image(tokenizer, image)
        except (UnreadableImage, TokbenchError) as error:
            skipped.append((path, str(error)))
            continue
        stages = [visible(stage, kind) for stage in (image, *made.stages)]
        save_picture(to_pil(stages[-1]), out / f"{name}.png")
        if kind == "labels":
            save_picture(label_file(made.image[0]), out / "labels" / f"{name}.png")
        zoom = max(1, 128 // max(image.shape[-2:]))  # or the headings of a small image are cut off
        beside = grid([[stages[0], stages[-1]]], columns=["original", "reconstruction"], zoom=zoom)
        save_picture(beside, out / "side-by-side" / f"{name}.png")
        if depths:
            headings = ["original", *made.names]
            save_picture(grid([stages], columns=headings, zoom=zoom), out / "depths" / f"{name}.png")
        height, width = image.shape[-2:]
        rows.append(
            Reconstructed(
                name=f"{name}.png",
                width=width,
                height=height,
                codes=tuple(made.codes.shape),
                bits_per_pixel=made.bits_per_pixel,
                psnr=made.psnr,
                ssim=made.ssim,
                scores=made.scores,
            )
        )
    if not rows:
        reasons = "; ".join(reason for _, reason in skipped)
        raise TokbenchError(f"nothing could be reconstructed: {reasons or 'no image was given'}")
    return rows, skipped


def _film(tokenizer: Tokenizer, path: Path, out: Path, name: str, frames: int) -> Reconstructed:
    # A tokenizer of images needs nothing that reads videos.
    from tokbench.clip_reconstruction import reconstruct_video_file

    with explained(f"reconstructing {path}", "fewer --frames"):
        made = reconstruct_video_file(tokenizer, path, out, name, frames)
    count, height, width = made.size
    return Reconstructed(
        f"{name}.mp4", width, height, made.codes, made.bits_per_pixel, made.psnr, made.ssim,
        f"{count} of {made.total}" if count < made.total else str(count),
    )  # fmt: skip


def _named(files: Sequence[Path]) -> dict[Path, str]:
    """Each file once, with a name for what is made of it that no other has, not even where case does not count."""
    named: dict[Path, str] = {}
    seen: set[Path] = set()
    used: set[str] = set()
    for path in files:
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        name, more = path.stem, 0
        while _folded(name) in used:
            name, more = f"{path.stem}-{_tag(path)}{f'-{more}' if more else ''}", more + 1
        used.add(_folded(name))
        named[path] = name
    return named


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def psnr_and_ssim(images: Tensor, made: Tensor) -> tuple[float, float]:
    """Means over two batches uint8 (N, C, H, W); SSIM is NaN where its window does not fit in."""
    small = min(images.shape[-2:]) < WINDOW
    return float(psnr(images, made).mean()), math.nan if small else float(ssim(images, made).mean())


def of_pair(name: str, image: Tensor, made: Tensor, channels: int) -> float:
    """The value of a metric of pairs for one of them, (1, C, H, W) each."""
    metric: Any = get(name)
    statistics = metric.statistics(channels)
    metric.update(statistics, Pairs(image, made))
    return float(statistics.value())


def _files(sources: Sequence[Path], suffixes: frozenset[str] | set[str]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(p for p in source.rglob("*") if p.suffix.lower() in suffixes)
            if not inside:
                raise TokbenchError(f"{source}: holds no images ({', '.join(sorted(_SUFFIXES))})")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise TokbenchError(f"{source}: no such image or folder")
    return found


def _tag(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:6]
