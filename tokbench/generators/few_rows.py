"""A place of few rows through a causal stack in fp32 on a CPU, where what an operation costs is mostly its call.

Weights are copies, turned as products of few rows read them fastest. They hold the factors of the GELU and of the
scores, so that neither takes a pass: with u = x / sqrt 2, GELU(x) = (u + u erf u) / sqrt 2. One row of ``F.gelu`` costs
more than the product before it.

Shape legend: L layers, R rows, N places, C width, h heads, c channels a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tokbench.generators.transformer import Block, rotate

_ROOT = math.sqrt(0.5)


class Layer(NamedTuple):
    """Weight and bias of each part of a block."""

    norm1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, block: Block) -> Layer:
        """The block's own."""
        heads = block.attention
        parts: tuple[nn.Module, ...] = (block.norm1, heads.qkv, heads.out, block.norm2, block.mlp[0], block.mlp[2])
        return cls(*((part.weight, part.bias) for part in parts))  # type: ignore[arg-type, misc]

    @torch.no_grad()
    def turned(self, heads: int) -> Layer:
        """Copies for ``step``, with its factors. What comes of ``qkv`` is in the order (h, 3, c)."""
        weight, bias = (x.t().unflatten(-1, (3, heads, -1)).clone() for x in self.qkv)
        for queries in (weight[:, 0], bias[0]):
            queries /= math.sqrt(queries.shape[-1])
        out, up = (x[0].t().contiguous() for x in (self.out, self.up))
        return Layer(
            self.norm1,
            (weight.transpose(1, 2).flatten(1), bias.transpose(0, 1).flatten()),
            (out, self.out[1]),
            self.norm2,
            (up.mul_(_ROOT), self.up[1] * _ROOT),
            (self.down[0].mul(_ROOT).t(), self.down[1]),  # of so many inputs the products are faster this way round
        )


def step(layers: Sequence[Layer], kept: Tensor, x: Tensor, at: int, turns: Tensor | None) -> Tensor:
    """The output (R, C) of the place ``at`` from its input x (R, C); its keys and values go into what is kept, (L, 2,
    R, h, N, c). ``turns`` (1, c/2, 2): its rotation."""
    rows, width = x.shape
    split = (rows * kept.shape[3], 3, kept.shape[5])
    kept = kept.flatten(2, 3)
    # Those of all layers at once: a view costs as much as a small product.
    places = kept.select(3, at).transpose(1, 2).unbind()
    seen = kept.narrow(3, 0, at + 1)
    keys, values = seen[:, 0].transpose(2, 3).unbind(), seen[:, 1].unbind()
    for (norm1, qkv, out, norm2, up, down), place, k, v in zip(layers, places, keys, values, strict=True):
        parts = torch.addmm(qkv[1], torch.layer_norm(x, (width,), *norm1), qkv[0]).view(split)
        if turns is not None:
            parts = torch.cat([rotate(parts[:, :2], turns), parts[:, 2:]], dim=1)
        q, own = parts.split((1, 2), dim=1)
        place.copy_(own)
        # Of one key the softmax is 1.
        y = torch.bmm(torch.softmax(torch.bmm(q, k), -1), v) if at else own[:, 1]
        x = torch.addmm(x, y.reshape(rows, width), out[0]).add_(out[1])
        u = torch.addmm(up[1], torch.layer_norm(x, (width,), *norm2), up[0])
        x = torch.addmm(x, torch.addcmul(u, u, torch.erf(u)), down[0]).add_(down[1])
    return x
