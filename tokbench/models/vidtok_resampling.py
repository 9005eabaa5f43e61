"""VidTok's layers between the levels: halving and doubling in space, and in time with a learned mixture."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .causal import CausalConv3d, Padding, Streamed

Interpolation = Literal["nearest", "linear"]


class SpaceDown(nn.Module):
    """Halve the sides of every frame with a strided 3x3 convolution, zeros right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (1, 3, 3), (1, 2, 2), same=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class SpaceUp(nn.Module):
    """Double the sides by repeating each position, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest"))


class TimeDown(Streamed):
    """Halve the frames: a mixture of the mean of three and of a strided convolution, one frame put before."""

    def __init__(self, channels: int, before: Padding) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (3, 3, 3), (2, 1, 1), before=before, lead=1)
        self.mix = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        convolved, share = self.conv(x), torch.sigmoid(self.mix)
        if self.past:
            before = self.past["last"]
        else:
            before = x[:, :, :1] if self.conv.before == "first-frame" else torch.zeros_like(x[:, :, :1])
        if self.past is not None:
            self.past["last"] = x[:, :, -1:].clone()
        x = torch.cat([before, x], dim=2)
        return share * ((x[:, :, 0:-2:2] + x[:, :, 1:-1:2] + x[:, :, 2::2]) / 3) + (1 - share) * convolved


class TimeUp(nn.Module):
    """Double the frames, by repeating or by a line between them, then mix in a convolution of what came out.

    ``first``: frames at the beginning that one latent frame has become, which ``linear`` keeps from the others. It
    looks one frame ahead, so such a decoder is not causal.
    """

    def __init__(self, channels: int, before: Padding, interpolation: Interpolation, first: int) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, before=before)
        self.mix = nn.Parameter(torch.tensor([2.0]))
        self.first, self.sees_the_whole_clip = first, interpolation == "linear"

    def forward(self, x: Tensor) -> Tensor:
        if self.sees_the_whole_clip:
            parts = [x[:, :, : self.first], x[:, :, self.first :]]
            x = torch.cat([_between(part) for part in parts if part.shape[2]], dim=2)
        else:
            x = x.repeat_interleave(2, dim=2)
        share = torch.sigmoid(self.mix)
        return share * x + (1 - share) * self.conv(x)


def _between(x: Tensor) -> Tensor:
    """Twice the frames, at a quarter and three quarters of the way between neighbours; the ends are held."""
    return F.interpolate(x, scale_factor=(2.0, 1.0, 1.0), mode="trilinear")
