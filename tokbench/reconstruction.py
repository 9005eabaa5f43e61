"""Any picture of any size through a tokenizer, and back as a picture."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tokbench import threads
from tokbench.data.pixels import UnreadableImage, read_image, to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.memory import IMAGE_TOO_LARGE, explained
from tokbench.metrics.psnr import psnr
from tokbench.metrics.ssim import WINDOW, ssim
from tokbench.models import Tokenizer
from tokbench.models.tokenizer import pad_to_multiple
from tokbench.pictures import grid, save_picture, to_pil
from tokbench.results.targets import check_not_inputs, check_writable

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class Reconstructed:
    """One picture's figures. ``codes`` is (H, W, D) of its code stack, padding included."""

    name: str
    width: int
    height: int
    codes: tuple[int, int, int]
    bits_per_pixel: float
    psnr: float
    ssim: float


def reconstruct_image(tokenizer: Tokenizer, image: Tensor) -> tuple[list[Tensor], Tensor]:
    """image uint8 (C, H, W) -> its reconstruction from the first 1, 2, ... D codes (each uint8 (C, H, W)), codes.

    Sides that the downsampling does not divide are padded by reflection before and cropped after.
    """
    device = next(tokenizer.parameters()).device
    padded, (height, width) = pad_to_multiple(to_float(image[None].to(device)), tokenizer.downsampling)
    with torch.no_grad():
        codes = tokenizer.encode(padded)
        made = (tokenizer.decode(codes[..., : d + 1])[0, :, :height, :width] for d in range(codes.shape[-1]))
        return [to_uint8(stage).cpu() for stage in made], codes[0].cpu()


def reconstruct_files(
    tokenizer: Tokenizer, sources: Sequence[Path], out: Path, *, depths: bool = False
) -> tuple[list[Reconstructed], list[tuple[Path, str]]]:
    """Write ``out/NAME.png``, ``out/side-by-side/NAME.png`` and with ``depths`` ``out/depths/NAME.png``.

    They are grey where the tokenizer is. Returns the figures, and the files that were skipped with the reason (it names
    the file). Raises TokbenchError when nothing is left.
    """
    rows: list[Reconstructed] = []
    skipped: list[tuple[Path, str]] = []
    bits = tokenizer.quantizer.bits_per_vector
    named = _named(_files(sources))
    folders = [out, out / "side-by-side", *([out / "depths"] if depths else [])]
    check_not_inputs([folder / f"{name}.png" for folder in folders for name in named.values()], named)
    check_writable(out / "side-by-side" / "any.png")
    for path, name in named.items():
        try:
            threads.adapt()
            image = read_image(path, tokenizer.config.channels, any_shape=True)
            with explained(f"reconstructing {path}", *IMAGE_TOO_LARGE):
                stages, codes = reconstruct_image(tokenizer, image)
                fidelity = psnr_and_ssim(image, stages[-1])
        except (UnreadableImage, TokbenchError) as error:
            skipped.append((path, str(error)))
            continue
        save_picture(to_pil(stages[-1]), out / f"{name}.png")
        beside = grid([[image, stages[-1]]], columns=["original", "reconstruction"])
        save_picture(beside, out / "side-by-side" / f"{name}.png")
        if depths:
            headings = ["original", *(f"depth {d + 1}" for d in range(len(stages)))]
            save_picture(grid([[image, *stages]], columns=headings), out / "depths" / f"{name}.png")
        height, width = image.shape[-2:]
        rows.append(
            Reconstructed(
                name=f"{name}.png",
                width=width,
                height=height,
                codes=(codes.shape[0], codes.shape[1], codes.shape[2]),
                bits_per_pixel=codes.shape[0] * codes.shape[1] * bits / (height * width),
                psnr=fidelity[0],
                ssim=fidelity[1],
            )
        )
    if not rows:
        reasons = "; ".join(reason for _, reason in skipped)
        raise TokbenchError(f"nothing could be reconstructed: {reasons or 'no image was given'}")
    return rows, skipped


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


def psnr_and_ssim(image: Tensor, made: Tensor) -> tuple[float, float]:
    """Of two uint8 (C, H, W); SSIM is NaN where its window does not fit in."""
    small = min(image.shape[-2:]) < WINDOW
    return float(psnr(image[None], made[None])), math.nan if small else float(ssim(image[None], made[None]))


def _files(sources: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(p for p in source.rglob("*") if p.suffix.lower() in _SUFFIXES)
            if not inside:
                raise TokbenchError(f"{source}: holds no pictures ({', '.join(sorted(_SUFFIXES))})")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise TokbenchError(f"{source}: no such picture or folder")
    return found


def _tag(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:6]
