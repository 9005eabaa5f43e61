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
from torch import Tensor

from tokbench.generators.transformer import rotate

_ROOT = math.sqrt(0.5)


class Layer(NamedTuple):
    """Of each norm weight and bias, of each product bias and turned weight."""

    norm1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, parts: Sequence[tuple[Tensor, Tensor]], heads: int) -> Layer:
        """Copies of weight and bias of each of a block's parts. What comes of ``qkv`` is in the order (h, 3, c)."""
        norm1, (weight, bias), out, norm2, up, down = parts
        turned, scaled = weight.t().unflatten(1, (3, heads, -1)).clone(), bias.unflatten(0, (3, heads, -1)).clone()
        for queries in (turned[:, 0], scaled[0]):
            queries /= math.sqrt(queries.shape[-1])
        return cls(
            norm1,
            (scaled.transpose(0, 1).flatten(), turned.transpose(1, 2).flatten(1)),
            (out[1], out[0].t().contiguous()),
            norm2,
            (up[1] * _ROOT, up[0].t().contiguous().mul_(_ROOT)),
            (down[1], down[0].t().contiguous().mul_(_ROOT)),
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
        parts = torch.addmm(qkv[0], torch.layer_norm(x, (width,), *norm1), qkv[1]).view(split)
        if turns is not None:
            parts = torch.cat([rotate(parts[:, :2], turns), parts[:, 2:]], dim=1)
        q, own = parts.split((1, 2), dim=1)
        place.copy_(own)
        # Of one key the softmax is 1.
        y = torch.bmm(torch.softmax(torch.bmm(q, k), -1), v) if at else own[:, 1]
        x = torch.addmm(out[0], y.reshape(rows, width), out[1]).add_(x)
        u = torch.addmm(up[0], torch.layer_norm(x, (width,), *norm2), up[1])
        x = torch.addmm(down[0], torch.addcmul(u, u, torch.erf(u)), down[1]).add_(x)
    return x
