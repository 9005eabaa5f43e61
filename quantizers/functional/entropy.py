"""The entropies of lookup-free quantization, exact and without the N x 2^n matrix.

The softmax over the 2^n corner codes factorises over bits, p(c|z) = prod_i sigmoid(+-4 z_i / temperature). Hence the
entropy of a sample is a sum of n Bernoulli entropies, and the batch average E[p] is one product of the joint
probabilities of the low and of the high half of the bits: O(N 2^(n/2) + 2^n) numbers instead of O(N 2^n).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from quantizers.distributed import joined_mean
from quantizers.functional.bits import index_to_bits

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
    logits = z.reshape(-1, n).float() * (4.0 / temperature)
    # H(Bernoulli(sigmoid(l))) = softplus(l) - l sigmoid(l): no logarithm of a rounded 0.
    per_sample = (F.softplus(logits) - logits * torch.sigmoid(logits)).sum(-1).mean()
    parts = torch.split(logits, [n] if groups is None else list(groups), dim=-1)
    means = [_mean_joint(part) for part in parts]
    if joined:
        per_sample, *means = (joined_mean(mean, len(logits)) for mean in (per_sample, *means))
    codebook = torch.stack([_entropy(mean, log_eps) for mean in means]).sum()
    return per_sample, codebook


def _mean_joint(logits: Tensor) -> Tensor:
    """logits (N, n) of each bit being 1 -> (2^high, 2^low), the batch average of the joint probabilities."""
    pieces = logits.split(_TOKENS)
    total = _sum_joint(pieces[0])
    for piece in pieces[1:]:
        # Many tokens: the pieces' joint probabilities are computed again in the backward pass instead of kept.
        total = total + checkpoint(_sum_joint, piece, use_reentrant=False)
    return total / len(logits)


def _sum_joint(logits: Tensor) -> Tensor:
    low = logits.shape[1] // 2
    return _joint(logits[:, low:]).T @ _joint(logits[:, :low])


def _joint(logits: Tensor) -> Tensor:
    """logits (N, m) -> (N, 2^m): probability of every pattern of m independent bits, bit 0 the least significant."""
    m = logits.shape[1]
    patterns = index_to_bits(torch.arange(2**m, device=logits.device), m).T.to(logits.dtype)
    # Sums of log-probabilities: all terms are negative, so that nothing cancels.
    log_bits = torch.cat([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=1)
    # e^-40 stands in for anything smaller: denormal numbers would cost ten times as much.
    return (log_bits @ torch.cat([patterns, 1 - patterns])).clamp_min(-40).exp()


def _entropy(p: Tensor, log_eps: float) -> Tensor:
    # clamp_min keeps 0 log 0 at 0 and its gradient finite.
    return -(p * (p + log_eps).clamp_min(1e-30).log()).sum()
