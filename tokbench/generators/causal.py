"""Causal attention in training on a CPU, several queries at a time, each of them with no keys behind its own.

A CPU's fused attention computes the scores a second time for the gradient and multiplies small tiles. Where the weights
take no more memory than what the layer's MLP keeps anyway, keeping them is 1.2 to 1.5 times as fast.

Shape legend: B batch, N sequence, h heads, c channels a head, G = B h.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    """(G, N, c), three times -> (G, N, c)."""

    @staticmethod
    def forward(context: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q / math.sqrt(q.shape[-1])
        out, weights = torch.empty_like(q), []
        later = torch.full((_QUERIES, _QUERIES), -math.inf).triu_(1)
        for start, end in _parts(q.shape[1]):
            scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2))
            scores[:, :, start:] += later[: end - start, : end - start]
            weights.append(torch.softmax(scores, -1))
            out[:, start:end] = torch.bmm(weights[-1], v[:, :end])
        context.save_for_backward(q, k, v, out, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, *weights = context.saved_tensors
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        mean = (gradient * out).sum(-1, keepdim=True)  # of the weights' gradients, by the weights
        for (start, end), weight in zip(_parts(q.shape[1]), weights, strict=True):
            part = gradient[:, start:end]
            of_v[:, :end].baddbmm_(weight.transpose(1, 2), part)
            of_scores = torch.bmm(part, v[:, :end].transpose(1, 2)).sub_(mean[:, start:end]).mul_(weight)
            of_q[:, start:end] = torch.bmm(of_scores, k[:, :end])
            of_k[:, :end].baddbmm_(of_scores.transpose(1, 2), q[:, start:end])
        return of_q.div_(math.sqrt(q.shape[-1])), of_k, of_v


def _parts(length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _QUERIES, length)) for start in range(0, length, _QUERIES))
