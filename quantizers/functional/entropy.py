"""The entropies of soft codes; those of lookup-free quantization exactly and without the N x 2^n matrix.

The softmax over the 2^n corner codes factorises over bits, p(c|z) = prod_i sigmoid(+-4 z_i / temperature). Hence the
entropy of a sample is a sum of n Bernoulli entropies, and the batch average E[p] is one product of the joint
probabilities of the low and of the high half of the bits: O(N 2^(n/2) + 2^n) numbers instead of O(N 2^n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from quantizers.distributed import joined_mean
from quantizers.functional.bits import index_to_bits

_NUMBERS = 2**24  # probabilities over a codebook held at a time
_TOKENS = 4096  # whose joint probabilities are held at a time


def lfq_entropy(
    z: Tensor,
    temperature: float = 0.01,
    *,
    log_eps: float = 0.0,
    groups: Sequence[int] | None = None,
    joined: bool = False,
) -> tuple[Tensor, Tensor]:
    """(per-sample entropy, codebook entropy), scalars in nats, of p(c|z) = softmax over c of 2<z, c> / temperature.

    MAGVIT-v2, Yu et al. 2023, arXiv:2310.05737, eq. 5. z (..., n); the codes c are all of {-1, 1}^n.

    Args:
        log_eps: added inside the logarithm of the batch average. 0 is exact; Open-MAGVIT2 uses 1e-5, which biases the
            value at 2^18, where a uniform p is 3.8e-6.
        groups: bit counts, low bits first: the codebook entropy becomes the *sum of the entropies of the groups*, an
            upper bound that ignores how groups depend on each other. None is exact and needs 2^n numbers.
        joined: average over the batches of all processes (a collective call), with the gradient DDP needs.
    """
    n = z.shape[-1]
    if groups is not None and (sum(groups) != n or min(groups) < 1):
        raise ValueError(f"lfq_entropy: groups {list(groups)} must be positive and add up to the {n} bits of z")
    widths = [n] if groups is None else list(groups)
    logits = z.reshape(-1, n).float() * (4.0 / temperature)
    pieces = logits.split(_TOKENS)
    sums = list(_sums(pieces[0], widths))
    for piece in pieces[1:]:
        # Many tokens: the pieces' joint probabilities are computed again in the backward pass instead of kept.
        sums = [a + b for a, b in zip(sums, checkpoint(_sums, piece, widths, use_reentrant=False), strict=True)]
    means = [total / len(logits) for total in sums]
    if joined:
        means = [joined_mean(mean, len(logits)) for mean in means]
    return means[0], torch.stack([_entropy(mean, log_eps) for mean in means[1:]]).sum()


def _sums(logits: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """logits (N, n) of each bit being 1 -> sum over N of the samples' entropies, then of each group's joint
    probabilities (2^high, 2^low)."""
    log_one, log_zero, entropy, *_ = _BitLogProbabilities.apply(logits)
    groups = zip(log_one.split(list(widths), 1), log_zero.split(list(widths), 1), strict=True)
    return (entropy, *(_sum_joint(one, zero) for one, zero in groups))


class _BitLogProbabilities(torch.autograd.Function):
    """logits (N, n) -> log p(bit = 1), log p(bit = 0), sum of the Bernoulli entropies; all from one exponential.

    The probabilities themselves come out as well, for the backward pass alone.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> tuple[Tensor, ...]:
        size = logits.abs()
        small = (-size).exp()
        soft = small.log1p()
        negative = logits < 0
        less = small / (1 + small)  # probability of the less likely value, however small
        one = torch.where(negative, less, 1 - less)
        zero = torch.where(negative, 1 - less, less)
        entropy = torch.addcmul(soft, size, less).sum()
        return logits.clamp_max(0) - soft, (-logits).clamp_max(0) - soft, entropy, one, zero

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[3:])
        ctx.save_for_backward(inputs[0], *output[3:])

    @staticmethod
    def backward(ctx: Any, log_one: Tensor, log_zero: Tensor, entropy: Tensor, *_: Tensor) -> Tensor:  # type: ignore[override]
        logits, one, zero = ctx.saved_tensors
        # H' = -l p (1 - p)
        return torch.addcmul(log_one * zero, one, torch.addcmul(log_zero, logits, zero * entropy), value=-1)


def _sum_joint(log_one: Tensor, log_zero: Tensor) -> Tensor:
    low = log_one.shape[1] // 2
    return _joint(log_one[:, low:], log_zero[:, low:]).T @ _joint(log_one[:, :low], log_zero[:, :low])


def _joint(log_one: Tensor, log_zero: Tensor) -> Tensor:
    """(N, m) twice -> (N, 2^m): probability of every pattern of m independent bits, bit 0 the least significant."""
    m = log_one.shape[1]
    patterns = index_to_bits(torch.arange(2**m, device=log_one.device), m).T.to(log_one.dtype)
    # Sums of log-probabilities: all terms are negative, so that nothing cancels.
    log_bits = torch.cat([log_one, log_zero], dim=1)
    # e^-40 stands in for anything smaller: denormal numbers would cost ten times as much.
    return (log_bits @ torch.cat([patterns, 1 - patterns])).clamp_min(-40).exp()


def _entropy(p: Tensor, log_eps: float) -> Tensor:
    # clamp_min keeps 0 log 0 at 0 and its gradient finite.
    return -(p * (p + log_eps).clamp_min(1e-30).log()).sum()


def assignment_entropy(
    z: Tensor, codebook: Tensor, temperature: float, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(per-sample entropy, codebook entropy), scalars in nats, of softmax over k of (<z, e_k> + bias_k) / temperature.

    z (..., d), codebook (K, d), bias (K,). The average is over the batches of all processes (a collective call). Of
    many probabilities only a piece is held at a time; it is computed again in the backward pass.
    """
    count = z.numel() // z.shape[-1]
    sums = in_pieces(_assignment_sums, z, codebook, bias, temperature)
    per_sample = joined_mean(torch.stack([s for s, _ in sums]).sum() / count, count)
    mean = joined_mean(torch.stack([p for _, p in sums]).sum(0) / count, count)
    return per_sample, _entropy(mean, 0.0)


def in_pieces(function: Callable[..., Any], z: Tensor, codebook: Tensor, *rest: Any) -> list[Any]:
    """``function(piece (n, d), codebook (K, d), *rest)`` of each piece of z (..., d), run again in the backward pass
    where n * K numbers are many."""

    def of(piece: Tensor) -> Any:
        if len(piece) * len(codebook) <= _NUMBERS // 16:
            return function(piece, codebook, *rest)
        return checkpoint(function, piece, codebook, *rest, use_reentrant=False)

    return [of(piece) for piece in z.reshape(-1, z.shape[-1]).split(max(1, _NUMBERS // len(codebook)))]


def _assignment_sums(z: Tensor, codebook: Tensor, bias: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    """Sum over z (n, d) of the entropies and of the probabilities (K,)."""
    scores = z @ codebook.T if bias is None else torch.addmm(bias, z, codebook.T)
    log_p = (scores / temperature).log_softmax(-1)
    p = log_p.exp()
    return -(p * log_p).sum(), p.sum(0)
