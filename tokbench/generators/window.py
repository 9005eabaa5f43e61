"""Codes of maps larger than what a generator was trained on, drawn out of a window that slides over them.

As in VQ-GAN (Esser et al. 2021, arXiv:2012.09841, section 3.2; CompVis/taming-transformers, scripts/make_samples.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError, shown, size_text


class Slide(NamedTuple):
    """A map and the window over it, in rows and columns of positions."""

    map: tuple[int, int]
    window: tuple[int, int]


def slide_of(config: GeneratorConfig, size: Sequence[int]) -> Slide | None:
    """How a generator draws maps of ``size``, rows and columns of positions; None where that is its own size.

    Raises:
        TokbenchError: a size below its own, or a generator that no window slides for.
    """
    own, model = config.grid, config.generator
    if not isinstance(size, list | tuple) or any(type(side) is not int for side in size):
        raise TokbenchError(f"size is rows and columns of positions, such as (24, 40), not {shown(size)}")
    wanted = tuple(size)
    if wanted == own:
        return None
    if len(own) != 2 or len(wanted) != 2:
        raise TokbenchError(
            f"{size_text(wanted)} codes were asked for, and the generator draws {size_text(own)}: only over rows and "
            "columns does a window slide"
        )
    if config.limits:
        raise TokbenchError(
            f"the generator's {size_text(own)} codes have vocabularies by place (quantizer vcq): leave out the size"
        )
    if model.name == "mlm":
        raise TokbenchError(
            f"mlm fills in its {size_text(own)} codes together: only of ar and pixelsnail are there larger maps"
        )
    if isinstance(model, ARConfig) and model.order != "raster":
        raise TokbenchError(
            f"a window slides over codes in raster order; the generator's order is {model.order}: leave out the size"
        )
    if wanted[0] < own[0] or wanted[1] < own[1]:
        raise TokbenchError(
            f"{size_text(wanted)} codes are fewer than the {size_text(own)} that the generator draws at once: give a "
            "larger size, or crop"
        )
    return Slide((wanted[0], wanted[1]), (own[0], own[1]))


def windows(height: int, width: int, window: int | tuple[int, int] = 16) -> Tensor:
    """int64 (height * width, 4): for each code (i, j) of a map, in raster order, the row and column where the window
    starts out of which it is drawn: i, j, i_start, j_start.

    A code stands in the middle of its window, place window // 2 of each axis, and nearer to the edge only where the map
    ends.

    Args:
        window: its side, or rows and columns.

    Raises:
        TokbenchError: a window larger than the map.
    """
    down, across = (window, window) if isinstance(window, int) else window
    if not 1 <= down <= height or not 1 <= across <= width:
        raise TokbenchError(f"a window of {down}x{across} codes does not fit a map of {height}x{width}")
    rows, columns = _starts(height, down), _starts(width, across)
    i, j = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([i, j, rows[i], columns[j]], dim=-1).flatten(0, 1)


def _starts(side: int, window: int) -> Tensor:
    return (torch.arange(side) - window // 2).clamp(0, side - window)
