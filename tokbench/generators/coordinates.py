"""Coordinates as codes: where in a larger, aligned image a crop lies (CompVis/taming-transformers, ``CoordStage``).

One number stands for row and column, and mostly for the row: places in raster order, from 0 to below 1.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tokbench.data.coordinates import coordinate_map
from tokbench.errors import TokbenchError, size_text

__all__ = ["coordinate_codes", "coordinate_map"]


def coordinate_codes(map: Tensor, codes: int, downsampling: int) -> Tensor:
    """Codes int64 (B, h, w, 1) of coordinates (B, 1, H, W) in [0, 1]: averaged over squares of ``downsampling`` pixels,
    times ``codes``, rounded (halves to even).

    As published, the last value may be ``codes`` itself, which no vocabulary of that size has: from images of a side of
    ``codes * downsampling`` on.

    Raises:
        TokbenchError: another shape, values outside [0, 1], or sides that are not multiples of ``downsampling``.
    """
    if map.dim() != 4 or map.shape[1] != 1 or not map.is_floating_point():
        raise TokbenchError(f"coordinates are float (B, 1, H, W), got {map.dtype} {tuple(map.shape)}")
    if any(side % downsampling or not side for side in map.shape[2:]):
        size = size_text(tuple(map.shape[2:]))
        raise TokbenchError(f"coordinates of {size} pixels are no whole number of squares of {downsampling}")
    if not bool(((map >= 0) & (map <= 1)).all()):  # not-a-number is not either
        raise TokbenchError("coordinates lie in [0, 1]: scale and crop them as they are, without interpolation")
    return (F.avg_pool2d(map, downsampling) * codes).round().long().movedim(1, -1)
