"""Blocks of frames and pixels as channels and back, plain or as a Haar wavelet's bands (Cosmos' ``patching.py``)."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

Method = Literal["haar", "rearrange"]


def _haar() -> Tensor:
    """(8, 8): which of the block's 8 values, time slowest, each band adds or subtracts. Its rows are orthogonal."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    return torch.kron(torch.kron(pair, pair), pair)


def _blocks(x: Tensor, p: int) -> Tensor:
    """(B, C, p*t, p*h, p*w) -> (B, C, p^3, t, h, w)."""
    return rearrange(x, "b c (t pt) (h ph) (w pw) -> b c (pt ph pw) t h w", pt=p, ph=p, pw=p)


def _unblocks(x: Tensor, p: int) -> Tensor:
    """(B, C, p^3, t, h, w) -> (B, C, p*t, p*h, p*w)."""
    return rearrange(x, "b c (pt ph pw) t h w -> b c (t pt) (h ph) (w pw)", pt=p, ph=p, pw=p)


class Patches3d(nn.Module):
    """(B, C, 1 + p*n, H, W) -> (B, p^3*C, 1 + n, H/p, W/p); the first frame is repeated to fill its block.

    haar: log2(p) times the bands of every 2x2x2 block, the first being its mean; the band varies slowest.
    rearrange: the block's values, which vary fastest.
    """

    def __init__(self, size: int, method: Method = "haar") -> None:
        super().__init__()
        self.size, self.method = size, method
        self.register_buffer("bands", _haar() / 8, persistent=False)

    bands: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, :, :1].expand(-1, -1, self.size - 1, -1, -1), x], dim=2)
        if self.method == "rearrange":
            return _blocks(x, self.size).flatten(1, 2)
        bands = self.bands.to(x)
        for _ in range(self.size.bit_length() - 1):
            x = torch.einsum("sk,bckthw->bscthw", bands, _blocks(x, 2)).flatten(1, 2)
        return x


class Unpatches3d(nn.Module):
    """The inverse of :class:`Patches3d`: of the first block's frames, the last is kept."""

    def __init__(self, size: int, method: Method = "haar") -> None:
        super().__init__()
        self.size, self.method = size, method
        self.register_buffer("bands", _haar(), persistent=False)

    bands: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.method == "rearrange":
            x = _unblocks(x.unflatten(1, (-1, self.size**3)), self.size)
        else:
            bands = self.bands.to(x)
            for _ in range(self.size.bit_length() - 1):
                x = _unblocks(torch.einsum("sk,bscthw->bckthw", bands, x.unflatten(1, (8, -1))), 2)
        return x[:, :, self.size - 1 :]
