"""Blocks of an image's pixels as channels and back, plain or as a Haar wavelet's bands (Cosmos' ``patching.py``)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .patches3d import Method


def _haar() -> Tensor:
    """(4, 4): which of the 4 values of a 2x2 block, rows slowest, each band adds or subtracts. Its rows are orthogonal;
    of the bands, those of the columns are the slowest."""
    return torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])


class Patches2d(nn.Module):
    """(B, C, p*h, p*w) -> (B, p^2*C, h, w).

    haar: log2(p) times the bands of every 2x2 block, the first being its mean; the band varies slowest.
    rearrange: the block's values, which vary fastest.
    """

    def __init__(self, size: int, method: Method = "haar") -> None:
        super().__init__()
        self.size, self.method = size, method
        self.register_buffer("bands", _haar() / 4, persistent=False)

    bands: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.method == "rearrange":
            return F.pixel_unshuffle(x, self.size)
        bands = self.bands.to(x)
        for _ in range(self.size.bit_length() - 1):
            x = torch.einsum("sk,bckhw->bschw", bands, F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))).flatten(1, 2)
        return x


class Unpatches2d(nn.Module):
    """The inverse of :class:`Patches2d`."""

    def __init__(self, size: int, method: Method = "haar") -> None:
        super().__init__()
        self.size, self.method = size, method
        self.register_buffer("bands", _haar(), persistent=False)

    bands: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.method == "rearrange":
            return F.pixel_shuffle(x, self.size)
        bands = self.bands.to(x)
        for _ in range(self.size.bit_length() - 1):
            x = F.pixel_shuffle(torch.einsum("sk,bschw->bckhw", bands, x.unflatten(1, (4, -1))).flatten(1, 2), 2)
        return x
