"""A start from which TiTok's networks learn in one stage: only first values, no other network.

As published, positions are noise: every query looks at all patches alike, every mask at all tokens, and the latents
say one mean colour for a thousand steps. Here the first half of the channels says where and the second half what.
Queries and tokens stand at patches, in an order whose every prefix covers the image; attention begins by likeness of
places (Trockman and Kolter 2023, arXiv:2305.09828, begin theirs as likeness of tokens) and carries the
second half alone, so that step 0 is a local autoencoder. Training may leave it for whatever is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.config.grid import Grid

_SHARPNESS = 2.0  # of the first attention: queries and keys are orthogonal maps of the places, times this
_WHAT = 2.0  # of patches and of codes, so that they weigh as much as where they are


def centres(grid: Grid) -> Tensor:
    """Of the patches of a grid (h, w), in raster order: (h * w, 2) within the unit square."""
    ranges = [(torch.arange(n) + 0.5) / n for n in grid]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).reshape(-1, 2)


def spread(points: Tensor, count: int) -> Tensor:
    """``count`` of the points (P, 2): the one next to the middle, then always the farthest from those before."""
    order = [int((points - 0.5).square().sum(-1).argmin())]
    nearest = (points - points[order[0]]).square().sum(-1)
    while len(order) < count:
        order.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[order[-1]]).square().sum(-1))
    return points[order]


def waves(points: Tensor, channels: int, side: int) -> Tensor:
    """Sines and cosines of coordinates (n, 2) as (n, channels) of mean square 1, of 1 to ``side`` half turns."""
    turns = torch.logspace(0, math.log10(side), channels // 4)
    angles = (points[..., None] * turns * math.pi).flatten(1)
    found = torch.cat([angles.sin(), angles.cos()], dim=1) * math.sqrt(2)
    return torch.nn.functional.pad(found, (0, channels - found.shape[1]))


@torch.no_grad()
def begin(positions: Tensor, tokens: Tensor, blocks: Iterable[Any], grid: Grid) -> None:
    """First values of the places of patches (P, W) and of tokens (N, W), and of timm's blocks, in place."""
    if tokens.is_meta:
        return  # only shapes are asked for
    points, where = centres(grid), tokens.shape[1] // 2
    for places, at in ((positions, points), (tokens, spread(points, len(tokens)))):
        places.zero_()[:, :where] = waves(at, where, max(grid))
    for block in blocks:
        _look_near(block, where)


@torch.no_grad()
def what_alone(into: nn.Conv2d | nn.Linear, out: nn.Linear | None = None) -> None:
    """What brings patches or codes in writes to the second half of the channels alone, and ``out`` reads it alone."""
    where = len(into.weight) // 2
    into.weight.mul_(_WHAT)[:where] = 0
    for layer in (into, out):
        if layer is not None and layer.bias is not None:
            layer.bias.zero_()
    if out is not None:
        out.weight[:, : out.weight.shape[1] // 2] = 0


def _look_near(block: Any, where: int) -> None:
    """Attention by the likeness of the first half, which carries the second; the MLP adds nothing yet."""
    width = block.attn.qkv.weight.shape[1]
    query, value = torch.zeros(2, width, width)
    nn.init.orthogonal_(query[:, :where])
    nn.init.orthogonal_(value[:, where:])
    block.attn.qkv.weight.copy_(torch.cat([query * _SHARPNESS, query * _SHARPNESS, value]))
    block.attn.proj.weight.copy_(value.T)
    block.mlp.fc2.weight.zero_()
    for layer in (block.attn.qkv, block.attn.proj):
        layer.bias.zero_()
