"""Causal attention in training on a CPU, several queries at a time, each of them with no keys behind its own.

A CPU's fused attention computes the scores a second time for the gradient and multiplies small tiles. Where the weights
take no more memory than what the layer's MLP keeps anyway, keeping them is 1.2 to 1.5 times as fast.

Shape legend: B batch, N sequence, h heads, c channels a head, G = B h, W weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_QUERIES = 64  # at a time: fewer are products too small, more are scores that nobody wants


def keeps_weights(q: Tensor) -> bool:
    """Whether ``attend`` is the faster for queries (B, h, N, c): long enough, and the weights, N (N + 64) / 2 of each
    head, no larger than the 9 N c that an MLP of four times the width keeps for its gradient."""
    _, _, length, channels = q.shape
    return (
        q.device.type == "cpu"
        and q.dtype == torch.float32
        and q.requires_grad
        and torch.is_grad_enabled()
        and 2 * _QUERIES <= length <= 18 * channels - _QUERIES
    )


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries, keys and values (B, h, N, c) -> (B, h, N, c), each place from itself and those before it. Its gradient
    cannot be differentiated."""
    attended: Tensor = _Attend.apply(*(x.flatten(0, 1) for x in (q, k, v)))
    return attended.unflatten(0, q.shape[:2])


class _Attend(torch.autograd.Function):
    """By operators of their own, so that FLOPs are counted as those of PyTorch's attention are."""

    @staticmethod
    def forward(context: Any, *qkv: Tensor) -> Tensor:
        out, weights = ATTENTION(*qkv)
        context.save_for_backward(*qkv, out, weights)
        return out  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return ATTENTION_BACKWARD(gradient, *context.saved_tensors)  # type: ignore[no-any-return]


def _forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, keys and values (G, N, c) -> what each place attends to, (G, N, c), and the weights (W,)."""
    q = q / math.sqrt(q.shape[-1])
    out, weights = torch.empty_like(q), q.new_empty(_count(q))
    later = torch.full((_QUERIES, _QUERIES), -math.inf).triu_(1)
    for start, end, weight in _parts(weights, q):
        scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2))
        scores[:, :, start:] += later[: end - start, : end - start]
        torch.softmax(scores, -1, out=weight)
        out[:, start:end] = torch.bmm(weight, v[:, :end])
    return out, weights


def _backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of what is attended to, (G, N, c), and what went in and came out -> those of q, k and v."""
    scale = 1 / math.sqrt(q.shape[-1])
    of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    mean = (gradient * out).sum(-1, keepdim=True)  # of the weights' gradients, by the weights
    for start, end, weight in _parts(weights, q):
        part = gradient[:, start:end]
        of_v[:, :end].baddbmm_(weight.transpose(1, 2), part)
        of_scores = torch.bmm(part, v[:, :end].transpose(1, 2)).sub_(mean[:, start:end]).mul_(weight)
        of_q[:, start:end] = torch.bmm(of_scores, k[:, :end])
        of_k[:, :end].baddbmm_(of_scores.transpose(1, 2), q[:, start:end])
    return of_q.mul_(scale), of_k.mul_(scale), of_v


def _count(q: Tensor) -> int:
    """How many weights there are, W."""
    return len(q) * sum((end - start) * end for start, end in pairwise(_ends(q.shape[1])))


def _ends(length: int) -> list[int]:
    return [*range(0, length, _QUERIES), length]


def _parts(weights: Tensor, q: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """The first of some queries, the end of them, and their weights (G, end - first, end)."""
    for start, end in pairwise(_ends(q.shape[1])):
        size = len(q) * (end - start) * end
        yield start, end, weights[:size].view(len(q), end - start, end)
        weights = weights[size:]


_OPERATORS = torch.library.Library("tokbench", "DEF")
_OPERATORS.define("causal_attention(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)")
_OPERATORS.define(
    "causal_attention_backward(Tensor gradient, Tensor q, Tensor k, Tensor v, Tensor out, Tensor weights)"
    " -> (Tensor, Tensor, Tensor)"
)
_OPERATORS.impl("causal_attention", _forward, "CPU")
_OPERATORS.impl("causal_attention_backward", _backward, "CPU")
# For what is traced, which has shapes only.
_OPERATORS.impl("causal_attention", lambda q, k, v: (torch.empty_like(q), q.new_empty(_count(q))), "Meta")
_OPERATORS.impl("causal_attention_backward", lambda gradient, *qkv: tuple(map(torch.empty_like, qkv[:3])), "Meta")

ATTENTION, ATTENTION_BACKWARD = torch.ops.tokbench.causal_attention, torch.ops.tokbench.causal_attention_backward
