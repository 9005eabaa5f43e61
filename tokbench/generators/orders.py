"""The order in which an AR goes through the positions of a map.

Those of VQ-GAN (Esser et al. 2021, arXiv:2012.09841, supplement; ``permuter.py`` of CompVis/taming-transformers), equal
to its tables wherever it has them. Here they are orders of every map, not of squares and powers of two alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tokbench.config.generator_model import Order


def order_of(name: Order, grid: Sequence[int]) -> Tensor:
    """int64 (T,): the position, by its number in raster order, that comes first, second, and so on.

    Any grid has the orders ``raster`` and ``random``; the others are of rows and columns.
    """
    if name == "raster":
        return torch.arange(math.prod(grid))
    if name == "random":  # the same for everybody, as it is taming's
        return torch.tensor(np.random.RandomState(1).permutation(math.prod(grid)), dtype=torch.int64)
    height, width = grid
    return _ORDERS[name](torch.arange(height * width).view(height, width))


def _alternate(map: Tensor) -> Tensor:
    """Every other row from right to left."""
    map = map.clone()
    map[1::2] = map[1::2].flip(1)
    return map.flatten()


def _spiral_in(map: Tensor) -> Tensor:
    """From the last position up the last column, then on along the edge of what is left."""
    found = []
    while map.numel():
        found.append(map[:, -1].flip(0))
        map = map[:, :-1].rot90(-1)
    return torch.cat(found)


def _z_curve(map: Tensor) -> Tensor:
    """Quarter by quarter."""
    return _by_bits(map, coarse_first=True)


def _subsample(map: Tensor) -> Tensor:
    """The map at its coarsest first, then what lies between."""
    return _by_bits(map, coarse_first=False)


def _by_bits(map: Tensor, coarse_first: bool) -> Tensor:
    """Sorted by the bits of row and column in turn, the row's before the column's, the highest or the lowest first."""
    height, width = map.shape
    row, column = map // width, map % width
    bits = max(height - 1, width - 1).bit_length()
    key = torch.zeros_like(map)
    for bit in range(bits):
        place = 2 * (bit if coarse_first else bits - 1 - bit)
        key |= (row >> bit & 1) << (place + 1) | (column >> bit & 1) << place
    return key.flatten().argsort()


_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "alternate": _alternate,
    "spiral-in": _spiral_in,
    "spiral-out": lambda map: _spiral_in(map).flip(0),
    "subsample": _subsample,
    "z-curve": _z_curve,
}
