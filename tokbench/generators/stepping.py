"""One place after the other through a causal stack: a layer of ``Block`` on a place alone, in as few calls as it takes.

A small model's step on a CPU is for the most part the calling of modules and operations: with the layers' weights at
hand, rows (R, C) in place of (R, 1, C) and sums in place it takes half as long, and gives the same bits. Few rows in
fp32 on a CPU go by weights laid out for them (``few_rows``), which round in another way; what files hold is coded in
fp64 and does not.

Shape legend: R rows, N places, C width, h heads, c channels a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.generators.few_rows import Layer, step
from tokbench.generators.kernels import have_kernels
from tokbench.generators.transformer import Block, Cache, Transformer, rotate

_FEW = 32  # rows on a CPU that go by weights of their own
_COPIED = 2**26  # weights of a stack that are copied for it at most


class Steps:
    """A stack whose places come one by one, with static memory for what it has seen.

    Args:
        rows, length: how many sequences go through side by side, R, and of how many places, N.
    """

    def __init__(self, stack: Transformer, rows: int, length: int) -> None:
        self.stack, self.heads = stack, stack.heads
        shape = (len(stack.blocks), 2, rows, stack.heads, length, stack.width // stack.heads)
        self.kept = stack.like.new_zeros(shape)  # keys and values of each layer, which one copy fills
        self.caches = [Cache(*of.unbind()) for of in self.kept]
        blocks: list[Block] = list(stack.blocks)  # type: ignore[arg-type]
        self.layers = list(map(Layer.of, blocks))
        self.few: list[Layer] = []
        if (
            rows <= _FEW
            and stack.like.device.type == "cpu"
            and stack.like.dtype == torch.float32
            and sum(p.numel() for p in stack.parameters()) <= _COPIED
        ):
            self.few = [layer.turned(stack.heads) for layer in self.layers]

    def fill(self, x: Tensor, rotation: Tensor | None, shown: Tensor | None = None) -> None:
        """See the first M places, x (R, M, C), at once. ``shown`` (R, N): which of all are attended to."""
        self.stack(x, rotation, shown, self.caches)

    def __call__(self, x: Tensor, at: int, rotation: Tensor | None = None, shown: Tensor | None = None) -> Tensor:
        """The output (R, C) of the place ``at`` from its input x (R, C), in evaluation. ``at`` is a plain number, so
        that every shape is known when a CUDA graph is captured."""
        if fuses(x, self.caches[0].keys):
            with torch.cuda.device_of(x):  # Triton starts kernels on the current one
                return self._fused(x, at, rotation, shown)
        turns = None if rotation is None else rotation[at : at + 1]
        if self.few and shown is None and not torch.is_autocast_enabled("cpu"):
            return step(self.few, self.kept, x, at, turns)
        mask = None if shown is None else shown[:, None, None, : at + 1]
        rows, width = x.shape
        split = (rows, 3, self.heads, 1, width // self.heads)
        # Those of all layers at once: a view costs as much as a small product.
        places = self.kept.narrow(4, at, 1).unbind()
        seen = self.kept.narrow(4, 0, at + 1).flatten(0, 1).unbind()
        for weights, place, k, v in zip(self.layers, places, seen[::2], seen[1::2], strict=True):
            qkv = F.linear(torch.layer_norm(x, (width,), *weights.norm1), *weights.qkv).view(split).transpose(0, 1)
            if turns is not None:
                qkv = torch.cat([rotate(qkv[:2], turns), qkv[2:]])
            place.copy_(qkv[1:])
            # Of one key the softmax is 1.
            v = F.scaled_dot_product_attention(qkv[0], k, v, attn_mask=mask) if at else qkv[2]
            x = _sum(F.linear(v.reshape(rows, width), *weights.out), x)
            up = F.linear(torch.layer_norm(x, (width,), *weights.norm2), *weights.up)
            x = _sum(F.linear(F.gelu(up), *weights.down), x)
        return x

    def _fused(self, x: Tensor, at: int, rotation: Tensor | None, shown: Tensor | None) -> Tensor:
        """The same, with what lies between products in kernels of our own."""
        from tokbench.generators.fused_step import attend, sum_and_norm

        turns = None if rotation is None else rotation[at]
        norms = [weights.norm1 for weights in self.layers[1:]]
        normed = F.layer_norm(x, x.shape[1:], *self.layers[0].norm1)
        for weights, cache, norm in zip(self.layers, self.caches, [*norms, None], strict=True):
            seen = attend(F.linear(normed, *weights.qkv), cache.keys, cache.values, at, turns, shown)
            x, normed = sum_and_norm(F.linear(seen, *weights.out), x, *weights.norm2)
            product = F.linear(F.gelu(F.linear(normed, *weights.up)), *weights.down)
            x, normed = (product.add_(x), normed) if norm is None else sum_and_norm(product, x, *norm)
        return x


def fuses(x: Tensor, cache: Tensor) -> bool:
    """Whether a step has kernels of its own here: on a GPU with Triton, in one precision."""
    return have_kernels(x) and x.dtype == cache.dtype and not torch.is_autocast_enabled("cuda")


def _sum(product: Tensor, x: Tensor) -> Tensor:
    """What a product returns nobody else holds: it takes the sum, where autocast has not made it the coarser one."""
    return product.add_(x) if product.dtype == x.dtype else product + x
