"""MAGVIT-v2's discriminator of videos: one logit a clip, not causal, without norms, with blurred downsampling.

Yu et al. 2023 (arXiv:2310.05737), figure 2 and table 5c, as in cofe-ai/O2-MAGVIT2 ``modeling/discriminator.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every LeakyReLU


def blur_pool3d(x: Tensor) -> Tensor:
    """Half the frames, rows and columns, rounded up: every second position of [1, 2, 1] / 4 along each axis.

    The border is mirrored; an axis of one position stays as it is.
    """
    for axis in (2, 3, 4):
        if x.shape[axis] > 1:
            x = _halved(x, axis)
    return x


def _halved(x: Tensor, axis: int) -> Tensor:
    length = x.shape[axis]
    middle = x[_every_second(axis, 0, length)]
    odd = x[_every_second(axis, 1, length)]
    left = torch.cat([odd.narrow(axis, 0, 1), odd], dim=axis)
    right = odd if length % 2 == 0 else torch.cat([odd, odd.narrow(axis, odd.shape[axis] - 1, 1)], dim=axis)
    return (left.narrow(axis, 0, middle.shape[axis]) + right) / 4 + middle / 2


def _every_second(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop, 2),)


class Conv3d(nn.Conv3d):
    """A 3x3x3 convolution with zeros around the clip, put there as a copy: told to pad, PyTorch leaves oneDNN on CPUs
    for a loop of its own."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1, 1, 1)))


class ResidualDown(nn.Module):
    """Convolution, blur and pool, convolution, beside a pooled 1x1x1; their sum over sqrt(2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = Conv3d(channels_in, channels_in)
        self.second = Conv3d(channels_in, channels_out)
        self.skip = nn.Conv3d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = blur_pool3d(F.leaky_relu(self.first(x), SLOPE))
        h = F.leaky_relu(self.second(h), SLOPE)
        return (self.skip(blur_pool3d(x)) + h) / math.sqrt(2)


class ClipDiscriminator(nn.Module):
    """Videos (B, C, T, H, W) in [-1, 1] to logits (B, 1), high where a clip looks real.

    Args:
        size: (T, H, W) of the clips, which the last layers fix.
        channels: of the first convolution.
        multipliers: channels after each halving, in units of ``channels``; the paper's are (2, 4, 4, 4, 4) of 128.
    """

    def __init__(
        self, size: tuple[int, ...], channels: int, multipliers: Sequence[int], image_channels: int = 3
    ) -> None:
        super().__init__()
        sizes = [channels, *(channels * m for m in multipliers)]
        left = [math.ceil(side / 2 ** len(multipliers)) for side in size]
        self.size = tuple(size)
        self.stem = Conv3d(image_channels, channels)
        self.blocks = nn.Sequential(*(ResidualDown(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)))
        self.last = Conv3d(sizes[-1], sizes[-1])
        self.hidden = nn.Linear(math.prod(left) * sizes[-1], sizes[-1])
        self.out = nn.Linear(sizes[-1], 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight, gain=nn.init.calculate_gain("relu"))
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, videos: Tensor) -> Tensor:
        if tuple(videos.shape[2:]) != self.size:
            raise ValueError(
                f"this discriminator takes clips of (T, H, W) = {self.size}, not {tuple(videos.shape[2:])}"
            )
        x = self.blocks(F.leaky_relu(self.stem(videos), SLOPE))
        x = F.leaky_relu(self.last(x), SLOPE).flatten(1)
        return self.out(F.leaky_relu(self.hidden(x), SLOPE))
