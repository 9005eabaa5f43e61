"""Cosmos' causal blocks (NVIDIA/Cosmos-Tokenizer ``modules/layers3d.py``): every 3x3x3 convolution is one over the
frame and one over time, and what stands before the first frame is that frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Recomputed
from .causal import CausalConv3d, norm3d


def factorized(channels_in: int, channels_out: int) -> nn.Sequential:
    """A 3x3 convolution of every frame, then one over three frames."""
    return nn.Sequential(
        CausalConv3d(channels_in, channels_out, (1, 3, 3)),
        CausalConv3d(channels_out, channels_out, (3, 1, 1), before="first-frame"),
    )


class FactorizedResidual(Recomputed):
    """Twice norm (over a whole frame), swish and factorised convolution, added to the input."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm3d(channels_in, groups=1)
        self.conv1 = factorized(channels_in, channels_out)
        self.norm2 = norm3d(channels_out, groups=1)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = factorized(channels_out, channels_out)
        same = channels_in == channels_out
        self.shortcut: nn.Module = nn.Identity() if same else CausalConv3d(channels_in, channels_out, (1, 1, 1))

    def _forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x, swish=True))
        return self.shortcut(x) + self.conv2(self.dropout(self.norm2(h, swish=True)))


class HybridDown(nn.Module):
    """Halve the sides, the frames or both: each a strided convolution plus a mean; then 1x1x1."""

    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.space = CausalConv3d(channels, channels, (1, 3, 3), (1, 2, 2), same=False) if space else None
        self.time = CausalConv3d(channels, channels, (3, 1, 1), (2, 1, 1), before="first-frame") if time else None
        self.out = CausalConv3d(channels, channels, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.space is not None:
            x = self.space(F.pad(x, (0, 1, 0, 1))) + F.avg_pool3d(x, (1, 2, 2))
        if self.time is not None:
            x = self.time(x) + _mean_of_pairs(x)
        return self.out(x)


class HybridUp(nn.Module):
    """Double the frames, the sides or both: each by repeating, plus a convolution of that; then 1x1x1."""

    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.time = CausalConv3d(channels, channels, (3, 1, 1), before="first-frame") if time else None
        self.space = CausalConv3d(channels, channels, (1, 3, 3)) if space else None
        self.out = CausalConv3d(channels, channels, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.time is not None:
            x = x.repeat_interleave(2, dim=2)[:, :, 1:]
            x = self.time(x) + x
        if self.space is not None:
            x = F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest")
            x = self.space(x) + x
        return self.out(x)


def _mean_of_pairs(x: Tensor) -> Tensor:
    """(B, C, 1 + 2n, H, W) -> (B, C, 1 + n, H, W): the first frame, then the mean of each two."""
    x = torch.cat([x[:, :, :1], x], dim=2)
    return (x[:, :, 0::2] + x[:, :, 1::2]) / 2
