"""Images people look at: grids, originals beside reconstructions, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tokbench.results.files import written
from tokbench.results.sheets import FRAMES, GAP, extent

_INK, _PAPER = "#282828", "#ffffff"


def to_pil(image: Tensor) -> Image.Image:
    """A uint8 (3, H, W) tensor, or a grey (1, H, W), as a PIL image of mode RGB or L."""
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy()))


def zoomed(picture: Image.Image, times: int) -> Image.Image:
    """Whole pixels, so many times as wide and high, made of each of its own."""
    size = (picture.width * times, picture.height * times)
    return picture.resize(size, Image.Resampling.NEAREST) if times > 1 else picture


def spread(clip: Tensor, count: int) -> list[Tensor]:
    """``count`` frames (C, H, W) of a clip (C, T, H, W), or all where it has fewer, from the first to the last."""
    count = min(count, clip.shape[1])
    return [clip[:, round(k * (clip.shape[1] - 1) / max(count - 1, 1))] for k in range(count)]


def _flat(image: Tensor) -> Tensor:
    """A clip (C, T, H, W) as some of its frames side by side: (C, H, n * W). An image as it is."""
    return image if image.ndim == 3 else torch.cat(spread(image, FRAMES), dim=-1)


def grid(rows: Sequence[Sequence[Tensor]], *, columns: Sequence[str] = (), zoom: int = 1) -> Image.Image:
    """Rows of uint8 (3, H, W) or grey (1, H, W) images of one size as one image, with a heading over each column.

    Clips (C, T, H, W) are shown as strips. It is grey where all of them are.
    """
    rows = [[_flat(image) for image in row] for row in rows]
    height, width = rows[0][0].shape[-2:]
    height, width = height * zoom, width * zoom
    count = max(len(row) for row in rows)
    size = max(10, min(18, width // 8))
    font = ImageFont.load_default(size=size)
    lines = max((len(_wrap(title, font, width)) for title in columns), default=0)
    top = lines * (size + 3) + 4 if columns else 0
    mode = "L" if all(image.shape[0] == 1 for row in rows for image in row) else "RGB"
    canvas = Image.new(mode, (extent(count, width), top + extent(len(rows), height)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, title in enumerate(columns):
        for i, line in enumerate(_wrap(title, font, width)):
            draw.text((x * (width + GAP) + 2, 1 + i * (size + 3)), line, _INK, font)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            canvas.paste(zoomed(to_pil(image), zoom), (x * (width + GAP), top + y * (height + GAP)))
    return canvas


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a PNG whole or not at all."""
    with written(path) as draft:
        picture.save(draft, "PNG")
    return path


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 4:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
