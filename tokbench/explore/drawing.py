"""Images drawn by a generator, from nothing or around what is kept of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tokbench.config.condition import ClassConfig, TextConfig
from tokbench.config.grid import Grid
from tokbench.data.maps import visible
from tokbench.errors import TokbenchError, counted, size_text
from tokbench.explore.code_map import whole_numbers
from tokbench.explore.seen import enlarged
from tokbench.generators import Sampling
from tokbench.generators.pipeline import Pipeline
from tokbench.memory import ELSEWHERE, explained
from tokbench.pictures import to_pil

MOST = 16
"""Images that are drawn at a time."""


def draw(pair: Pipeline, n: int, *, condition: str = "", seed: int = 0, sampling: Sampling) -> list[Image.Image]:
    """``n`` images of a seed; of clips the middle frame.

    ``condition``: class numbers, or a text; empty for none, or where the generator needs one, all classes in turn.

    Raises:
        TokbenchError: a condition that the generator does not take, or settings out of range.
    """
    _check(n, seed)
    with explained(f"drawing {counted(n, 'image')}", "fewer images", *ELSEWHERE):
        conditions = _conditions(pair, condition)
        batches = pair.stream(range(n), conditions=conditions, seed=seed, sampling=sampling, batch_size=n)
        return [_shown(image) for _, images in batches for image in images]


def complete(
    pair: Pipeline,
    path: Path,
    region: str,
    n: int,
    *,
    condition: str = "",
    seed: int = 0,
    sampling: Sampling,
) -> list[Image.Image]:
    """An image file with a region of its codes drawn anew, ``n`` times. The arguments are those of ``draw``.

    Raises:
        TokbenchError: as ``draw``; an image that cannot be read, a region outside of the map, or one that the generator
            cannot draw (in raster order only what comes last).
    """
    _check(n, seed)
    mask = ~region_mask(region, map_of(pair))
    with explained(f"drawing {counted(n, 'image')}", "fewer images", *ELSEWHERE):
        batches = pair.completions(
            path, mask, range(n), conditions=_conditions(pair, condition), seed=seed, sampling=sampling, batch_size=n
        )
        return [_shown(image) for _, images in batches for image in images]


def with_region(pair: Pipeline, path: Path, region: str) -> Image.Image:
    """The image as the generator's are, the region that is to be drawn greyed. Raises as ``complete``."""
    mask = region_mask(region, map_of(pair))
    kind = pair.tokenizer.config.kind
    image = visible(pair.read(path), kind)
    if image.shape[0] == 1:
        image = image.expand(3, -1, -1)
    height, width = image.shape[-2:]
    rows = torch.arange(height) * mask.shape[0] // height
    columns = torch.arange(width) * mask.shape[1] // width
    faded = image // 5 + 160  # near to white, and what was there is still seen
    return enlarged(to_pil(torch.where(mask[rows][:, columns], faded, image)))


def map_of(pair: Pipeline) -> Grid:
    """The map of the generator's codes. TokbenchError where they are not one of an image."""
    grid = pair.generator.grid
    if len(grid) != 2:
        raise TokbenchError(f"completing needs codes in rows and columns, and this generator's are {size_text(grid)}")
    return grid


def region_mask(text: str, grid: Grid) -> Tensor:
    """``top, left, bottom, right`` in positions, the last two included, as bool (rows, columns).

    Raises:
        TokbenchError: four other numbers, or the whole map.
    """
    numbers = whole_numbers(text)
    if len(numbers) == 4:
        top, left, bottom, right = numbers
        if top <= bottom < grid[0] and left <= right < grid[1]:
            mask = torch.zeros(*grid, dtype=torch.bool)
            mask[top : bottom + 1, left : right + 1] = True
            if mask.all():
                raise TokbenchError(f"region {text!r}: is the whole map, of which nothing would be kept: draw instead")
            return mask
    raise TokbenchError(f"region {text!r}: give top, left, bottom and right, from 0, within {size_text(grid)}")


def region_between(first: tuple[int, int], second: tuple[int, int]) -> str:
    """The region between two positions (row, column), as it is typed."""
    (a, b), (c, d) = first, second
    return f"{min(a, c)}, {min(b, d)}, {max(a, c)}, {max(b, d)}"


def usual_region(pair: Pipeline) -> str:
    """The lower half, which every generator in raster order can draw; empty where there is no map."""
    grid = pair.generator.grid
    return f"{grid[0] // 2}, 0, {grid[0] - 1}, {grid[1] - 1}" if len(grid) == 2 else ""


def asks_for(pair: Pipeline) -> str:
    """What the field of the condition is called; empty for a generator that takes none of what can be typed."""
    config = pair.generator.config.condition
    if isinstance(config, ClassConfig) and config.num_classes:
        return f"class, 0 to {config.num_classes - 1}"
    return "text" if isinstance(config, TextConfig) else ""


def _conditions(pair: Pipeline, text: str) -> Sequence[int] | Sequence[str] | None:
    text = text.strip()
    if not text or isinstance(pair.generator.config.condition, TextConfig):
        return [text] if text else None
    if not (numbers := whole_numbers(text)):
        raise TokbenchError(f"class {text!r}: give class numbers")
    return numbers


def _check(n: Any, seed: Any) -> None:
    for name, value, low, most in (("images", n, 1, MOST), ("seed", seed, 0, 2**63 - 1)):
        if not isinstance(value, int) or not low <= value <= most:
            raise TokbenchError(f"{name}: a whole number from {low} to {most}, not {value}")


def _shown(image: Tensor) -> Image.Image:
    """Of a clip its middle frame."""
    return enlarged(to_pil(image if image.ndim == 3 else image[:, image.shape[1] // 2]))
