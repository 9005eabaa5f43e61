"""Places of a window that slides over a map larger than what a generator was trained on.

As in VQ-GAN (Esser et al. 2021, arXiv:2012.09841, section 3.2; CompVis/taming-transformers, scripts/make_samples.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.errors import TokbenchError


def windows(height: int, width: int, window: int = 16) -> Tensor:
    """int64 (height * width, 4): for each code (i, j) of a map, in raster order, the row and column where the window
    starts out of which it is drawn: i, j, i_start, j_start.

    A code stands in the middle of its window, place window // 2 of each axis, and nearer to the edge only where the map
    ends.

    Raises:
        TokbenchError: a window larger than the map.
    """
    if not 1 <= window <= min(height, width):
        raise TokbenchError(f"a window of {window}x{window} codes does not fit a map of {height}x{width}")
    rows, columns = _starts(height, window), _starts(width, window)
    i, j = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([i, j, rows[i], columns[j]], dim=-1).flatten(0, 1)


def _starts(side: int, window: int) -> Tensor:
    return (torch.arange(side) - window // 2).clamp(0, side - window)
