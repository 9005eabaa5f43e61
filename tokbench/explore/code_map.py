"""The codes of an image as an image: a cell for each position, equal codes in equal colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from tokbench.config.grid import Grid
from tokbench.data.maps import colours
from tokbench.errors import TokbenchError, size_text
from tokbench.pictures import to_pil, zoomed

SIDE = 384
"""Pixels that the longer side of a map has at least."""

AXES = {1: ("position",), 2: ("row", "column"), 3: ("frame", "row", "column")}
"""What a position is told by, from 0 each, by the number of the grid's axes."""
_NOTHING = 0x80  # grey, where no code is


def places(grid: Grid, quantizer: Any = None) -> Tensor:
    """Which position (of the flattened grid) stands where: int64 (rows, columns), -1 for none.

    A map as it is; the frames of a clip and the scales of a pyramid (of ``quantizer``) side by side; a row of tokens
    in lines of equal length.
    """
    positions = torch.arange(math.prod(grid))
    if len(grid) == 2:
        return positions.view(*grid)
    scales = getattr(quantizer, "scales", None) if len(grid) == 1 else None
    if len(grid) == 3:
        parts = list(positions.view(*grid))
    elif scales and sum(h * w for h, w in scales) == len(positions):
        split = positions.split([h * w for h, w in scales])
        parts = [part.view(h, w) for part, (h, w) in zip(split, scales, strict=True)]
    else:
        rows = next(n for n in range(math.isqrt(len(positions)), 0, -1) if len(positions) % n == 0)
        return positions.view(rows, -1)
    height = max(part.shape[0] for part in parts)
    apart = [F.pad(part, (0, 1, 0, height - part.shape[0]), value=-1) for part in parts]
    return torch.cat(apart, 1)[:, :-1]


def code_map(codes: Tensor, where: Tensor, marked: int | None = None) -> Image.Image:
    """Codes (positions,), -1 for none, as an image with a frame around the ``marked`` position.

    ``where``: as ``places`` gives it.
    """
    shown = torch.where(where >= 0, codes[where.clamp_min(0)], -1)
    cells = torch.where((shown >= 0)[..., None], colours(shown.clamp_min(0)), _NOTHING).to(torch.uint8)
    side = cell_side(where)
    image = zoomed(to_pil(cells.movedim(-1, 0)), side)
    if marked is not None:
        row, column = (int(n) for n in (where == marked).nonzero()[0])
        x, y = column * side, row * side
        draw = ImageDraw.Draw(image)
        draw.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline="black", width=2)
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline="white", width=min(2, side // 2) or 1)
    return image


def cell_side(where: Tensor) -> int:
    """Pixels of a map's image a side that a position has."""
    return max(1, SIDE // max(where.shape))


def position_at(x: int, y: int, where: Tensor) -> int | None:
    """The position under a pixel of ``code_map``'s image; None beside all of them."""
    row, column = y // cell_side(where), x // cell_side(where)
    if not (0 <= row < where.shape[0] and 0 <= column < where.shape[1]) or where[row, column] < 0:
        return None
    return int(where[row, column])


def place_text(position: int, grid: Grid) -> str:
    """``3, 5``: row and column of a map; the inverse of ``position_of``."""
    return ", ".join(map(str, np.unravel_index(position, grid)))


def position_of(text: str, grid: Grid) -> int:
    """The position that was typed. TokbenchError where there is none such."""
    names = AXES[len(grid)]
    numbers = whole_numbers(text)
    if len(numbers) != len(grid) or not all(0 <= n < side for n, side in zip(numbers, grid, strict=False)):
        raise TokbenchError(f"position {text!r}: give {' and '.join(names)}, from 0, within {size_text(grid)}")
    return int(np.ravel_multi_index(numbers, grid))


def whole_numbers(text: str) -> list[int]:
    """Those typed with commas or spaces between; empty where something else stands there."""
    words = text.replace(",", " ").split()
    return [int(word) for word in words] if all(word.isascii() and word.isdigit() for word in words) else []
