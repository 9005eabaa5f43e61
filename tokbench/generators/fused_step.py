"""What lies between the products of a decoding step as two Triton kernels: attention of one place with its cache, and
a sum with the LayerNorm behind it.

Operator by operator a layer's step is twelve launches, of which four read weights. These do the work of six others in
three, and attention reads its cache once. Imported only where x is on a GPU and Triton is there.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_HIDDEN = tl.constexpr(-1e30)  # a score that counts for nothing beside any other
_LOG2_E = 1 / math.log(2)
_EPS = 1e-5  # of nn.LayerNorm


@triton.jit(do_not_specialize=["at"])
def _attend_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr, keys_ptr, values_ptr, out_ptr, turns_ptr, shown_ptr, at, length, shown_length, scale,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, TURNS: tl.constexpr, HIDES: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """One head of one row: its key and value are kept at ``at``, its query attends to all up to there."""
    row, head = tl.program_id(0).to(tl.int64) // HEADS, tl.program_id(0) % HEADS
    channels = tl.arange(0, BLOCK_C)
    inside = channels < CHANNELS
    width = HEADS * CHANNELS
    own = qkv_ptr + row * 3 * width + head * CHANNELS
    q = tl.load(own + channels, mask=inside, other=0.0).to(tl.float32)
    k = tl.load(own + width + channels, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(own + 2 * width + channels, mask=inside, other=0.0)
    if TURNS:  # neighbouring channels are a pair: a cos - b sin, a sin + b cos
        pair = turns_ptr + (channels // 2) * 2
        cos, sin = tl.load(pair, mask=inside, other=0.0), tl.load(pair + 1, mask=inside, other=0.0)
        sin = tl.where(channels % 2 == 0, -sin, sin)
        q = q * cos + tl.load(own + (channels ^ 1), mask=inside, other=0.0).to(tl.float32) * sin
        k = k * cos + tl.load(own + width + (channels ^ 1), mask=inside, other=0.0).to(tl.float32) * sin
    kept = (row * HEADS + head) * length * CHANNELS
    key = k.to(value.dtype)
    tl.store(keys_ptr + kept + at * CHANNELS + channels, key, mask=inside)
    tl.store(values_ptr + kept + at * CHANNELS + channels, value, mask=inside)
    q *= scale
    best = tl.sum(q * key.to(tl.float32), axis=0)
    if HIDES:
        best = tl.where(tl.load(shown_ptr + row * shown_length + at), best, _HIDDEN)
    total = 1.0
    mean = value.to(tl.float32)
    for start in range(0, at, BLOCK_T):
        places = start + tl.arange(0, BLOCK_T)
        before = places < at
        where = kept + places[:, None] * CHANNELS + channels[None, :]
        both = before[:, None] & inside[None, :]
        scores = tl.sum(tl.load(keys_ptr + where, mask=both, other=0.0).to(tl.float32) * q[None, :], axis=1)
        if HIDES:
            shown = tl.load(shown_ptr + row * shown_length + places, mask=before, other=0)
            scores = tl.where(shown, scores, _HIDDEN)
        scores = tl.where(before, scores, float("-inf"))
        highest = tl.maximum(best, tl.max(scores, axis=0))
        weights, fade = tl.exp2(scores - highest), tl.exp2(best - highest)
        seen = tl.load(values_ptr + where, mask=both, other=0.0).to(tl.float32)
        mean = mean * fade + tl.sum(weights[:, None] * seen, axis=0)
        total = total * fade + tl.sum(weights, axis=0)
        best = highest
    tl.store(out_ptr + row * width + head * CHANNELS + channels, (mean / total).to(value.dtype), mask=inside)


@triton.jit
def _sum_and_norm_kernel(  # type: ignore[no-untyped-def]
    added_ptr, x_ptr, normed_ptr, weight_ptr, bias_ptr, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """A row: x plus what is added, in place of that, and the LayerNorm of the sum."""
    row = tl.program_id(0).to(tl.int64) * WIDTH
    channels = tl.arange(0, BLOCK)
    inside = channels < WIDTH
    added = tl.load(added_ptr + row + channels, mask=inside, other=0.0)
    x = added.to(tl.float32) + tl.load(x_ptr + row + channels, mask=inside, other=0.0).to(tl.float32)
    kept = x.to(added.dtype)
    tl.store(added_ptr + row + channels, kept, mask=inside)
    x = kept.to(tl.float32)
    mean = tl.sum(x, axis=0) / WIDTH
    apart = tl.where(inside, x - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(apart * apart, axis=0) / WIDTH + eps)
    weight = tl.load(weight_ptr + channels, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channels, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed_ptr + row + channels, (apart * scale * weight + bias).to(added.dtype), mask=inside)


def attend(
    qkv: Tensor, keys: Tensor, values: Tensor, at: int, turns: Tensor | None = None, shown: Tensor | None = None
) -> Tensor:
    """qkv (R, 3 C) of the place ``at`` -> its attention (R, C) to itself and all before it.

    Its key and value go into the caches keys and values (R, h, N, c). ``turns`` (1, c/2, 2) in fp32 are its rotation,
    ``shown`` (R, N) which places are attended to, of which the first is one.
    """
    rows, heads, length, channels = keys.shape
    out = qkv.new_empty(rows, heads * channels)
    _attend_kernel[(rows * heads,)](
        qkv, keys, values, out, out if turns is None else turns, out if shown is None else shown, at, length,
        0 if shown is None else shown.shape[1], _LOG2_E / math.sqrt(channels), heads, channels, turns is not None,
        shown is not None, triton.next_power_of_2(channels), 32, num_warps=2,
    )  # fmt: skip
    return out


def sum_and_norm(product: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """product + x, both (R, C), in the memory of the product, and its LayerNorm (R, C)."""
    rows, width = x.shape
    normed = torch.empty_like(product)
    block = triton.next_power_of_2(width)
    _sum_and_norm_kernel[(rows,)](
        product, x, normed, weight, bias, _EPS, width, block, num_warps=4 if block > 256 else 1
    )
    return product, normed
