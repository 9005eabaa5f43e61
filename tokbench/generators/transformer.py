"""The transformer both generators are made of: pre-norm blocks, SDPA attention, static caches, axial rotary positions.

Shape legend: B batch, N sequence, C width, h heads, c channels a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.generators.causal import attend, keeps_weights
from tokbench.models.vit import through

_TOGETHER = 16  # places that short sequences make up together


class Cache(NamedTuple):
    """Keys and values of one layer, allocated once for the longest sequence: (B, h, N, c) each."""

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(cls, like: Tensor, batch: int, heads: int, length: int, width: int) -> Cache:
        """Room for ``length`` places, in the precision and on the device of ``like``."""
        shape = (batch, heads, length, width // heads)
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    def extended(self, at: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values up to these of the places from ``at`` on, which are kept."""
        end = at + k.shape[2]
        self.keys[:, :, at:end], self.values[:, :, at:end] = k, v
        return self.keys[:, :, :end], self.values[:, :, :end]


class Dropouts(NamedTuple):
    """Chances of what a layer adds, of attention's weights, and of the input of the layers."""

    residual: float = 0.0
    attention: float = 0.0
    embedding: float = 0.0

    @classmethod
    def of(cls, settings: ARConfig | MLMConfig) -> Dropouts:
        """As a recipe says it: what is empty is as ``dropout``."""
        others = settings.attention_dropout, settings.embedding_dropout
        return cls(settings.dropout, *(settings.dropout if chance is None else chance for chance in others))


NO_DROPOUT = Dropouts()


class Heads(nn.Module):
    """What goes in and out of multi-head self-attention; queries, keys and values come from one product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, C) -> queries, keys, values (B, h, N, c)."""
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)  # in this order, or their gradients are copied twice
        return q, k, v

    def join(self, y: Tensor) -> Tensor:
        """(B, h, N, c) -> (B, N, C), projected."""
        batch, _, length, _ = y.shape
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))


class Attention(Heads):
    """Causal or not, with rotary positions or without."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__(width, heads)
        self.dropout, self.causal = dropout, causal

    def forward(
        self, x: Tensor, rotation: Tensor | None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """x (B, N, C), rotation (N, c/2, 2) -> (B, N, C). ``mask``: what each place attends to, bool (N, N) or (B, 1,
        N, N), in place of ``causal``. ``cache``: where keys and values are kept."""
        q, k, v = self.split(x)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            cache.extended(0, k, v)
        dropout, causal = self.dropout if self.training else 0.0, self.causal and mask is None
        if causal and not dropout and keeps_weights(q):
            return self.join(attend(q, k, v))
        return self.join(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal))


class Block(nn.Module):
    """LayerNorm, attention, LayerNorm, GELU MLP of four times the width; both residual."""

    def __init__(self, width: int, heads: int, dropouts: Dropouts, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropouts.attention, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropouts.residual)

    def forward(
        self, x: Tensor, rotation: Tensor | None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x), rotation, mask, cache))
        return x + self.drop(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """A stack of blocks without a final norm.

    Args:
        whole: places, from the first on, that see each other in both directions where the rest is causal.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        dropouts: Dropouts = NO_DROPOUT,
        causal: bool = True,
        whole: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.causal, self.whole = width, heads, causal, whole
        self.attention_dropout = dropouts.attention
        self.blocks = nn.ModuleList(Block(width, heads, dropouts, causal) for _ in range(layers))
        self.checkpointing = False

    def forward(
        self,
        x: Tensor,
        rotation: Tensor | None = None,
        shown: Tensor | None = None,
        caches: Sequence[Cache] | None = None,
        blocks: int | None = None,
    ) -> Tensor:
        """(B, N, C) -> (B, N, C). Places not ``shown``, bool (B, N), are not attended to; the first always is shown.
        ``caches``: where each layer's keys and values are kept (``stepping``); rotation and ``shown`` may be longer
        than N. ``blocks``: only the first so many."""
        length = x.shape[1]
        mask = self._mask(length, shown, x.device)
        rotation = None if rotation is None else rotation[:length]
        if caches is None:
            own = self.blocks if blocks is None else self.blocks[:blocks]
            return through(own, x, self.checkpointing, rotation, mask)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, rotation, mask, cache)
        return x

    def many(self, x: Tensor) -> Tensor:
        """``forward`` of many short sequences. On a CPU, where attention is called for each of them and costs more than
        it computes, several are one of which no part sees another."""
        batch, length, _ = x.shape
        draws = self.training and self.attention_dropout  # of the scores' shape
        together = 1 if x.device.type != "cpu" or draws else math.gcd(batch, max(1, _TOGETHER // length))
        if together == 1:
            return self(x)
        part = torch.arange(together * length) // length
        seen = (part[:, None] == part).tril()
        x = through(self.blocks, x.reshape(batch // together, together * length, -1), self.checkpointing, None, seen)
        return x.view(batch, length, -1)

    def _mask(self, length: int, shown: Tensor | None, device: torch.device) -> Tensor | None:
        """What each of the first places attends to, bool (N, N) or (B, 1, N, N); None: as ``causal`` says."""
        if not self.whole and shown is None:
            return None
        seen = torch.ones(length, length, dtype=torch.bool, device=device)
        seen = seen.tril() if self.causal else seen
        seen[: self.whole, : self.whole] = True
        return seen if shown is None else seen & shown[:, None, None, :length]

    @property
    def like(self) -> Tensor:
        """A tensor of the weights' precision and device."""
        return next(self.parameters())


def axial_rotation(grid: Sequence[int], channels: int, before: int = 1, map: Sequence[int] = ()) -> Tensor:
    """(before + T, channels / 2, 2) cosines and sines of the T positions of a grid in raster order: each axis turns its
    share of a head's channels. The places ``before``, the condition's, do not turn, unless they are a ``map``, which
    has rows and columns of its own. As in LlamaGen (Sun et al. 2024, arXiv:2406.06525), after Su et al. 2021
    (arXiv:2104.09864)."""
    pairs = channels // 2
    first = _angles(map, pairs) if map else torch.zeros(before, pairs, dtype=torch.float64)
    angles = torch.cat([first, _angles(grid, pairs)])
    return torch.stack([angles.cos(), angles.sin()], dim=-1).float()


def _angles(grid: Sequence[int], pairs: int) -> Tensor:
    """(T, pairs) of the positions of a grid in raster order."""
    axes = [torch.arange(side, dtype=torch.float64) for side in grid]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)  # (T, axes)
    shares = [pairs // len(grid) + (axis < pairs % len(grid)) for axis in range(len(grid))]
    frequencies = [10000.0 ** (-torch.arange(share, dtype=torch.float64) / share) for share in shares]
    return torch.cat([coordinates[:, i, None] * turns for i, turns in enumerate(frequencies)], dim=1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """x (B, h, N, c) with neighbouring channels as pairs, turned by rotation (N, c/2, 2)."""
    pairs = x.unflatten(-1, (-1, 2))
    cos, sin = rotation.to(x.dtype).unbind(-1)
    a, b = pairs.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for weights and tables, zero biases: GPT-2's, as taming and Kakao use it. For ``Module.apply``."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
