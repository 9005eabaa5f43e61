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


def lfq_entropy(
    z: Tensor,
    temperature: float = 0.01,
    *,
    log_eps: float = 0.0,
    groups: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """(per-sample entropy, codebook entropy), scalars in nats, of p(c|z) = softmax over c of 2<z, c> / temperature.

    MAGVIT-v2, Yu et al. 2023, arXiv:2310.05737, eq. 5. z (..., n); the codes c are all of {-1, 1}^n.

    Args:
        log_eps: added inside the logarithm of the batch average. 0 is exact; Open-MAGVIT2 uses 1e-5, which biases the
            value at 2^18, where a uniform p is 3.8e-6.
        groups: bit counts, low bits first: the codebook entropy becomes the *sum of the entropies of the groups*, an
            upper bound that ignores how groups depend on each other. None is exact and needs 2^n numbers.
    """
    n = z.shape[-1]
    if groups is not None and (sum(groups) != n or min(groups) < 1):
        raise ValueError(f"lfq_entropy: groups {list(groups)} must be positive and add up to the {n} bits of z")
    logits = z.reshape(-1, n).float() * (4.0 / temperature)
    p = torch.sigmoid(logits)
    # H(Bernoulli(sigmoid(l))) = softplus(|l|) - |l| sigmoid(|l|): no logarithm of a rounded 0. Even in l.
    per_sample = (F.softplus(logits) - logits * p).sum(-1).mean()
    parts = torch.split(p, [n] if groups is None else list(groups), dim=-1)
    codebook = torch.stack([_entropy(_mean_joint(part), log_eps) for part in parts]).sum()
    return per_sample, codebook


def _mean_joint(p: Tensor) -> Tensor:
    """p (N, n), chances that each bit is 1 -> (2^high, 2^low), the batch average of the joint probabilities."""
    low = p.shape[1] // 2
    return _joint(p[:, low:]).T @ _joint(p[:, :low]) / p.shape[0]


def _joint(p: Tensor) -> Tensor:
    """p (N, m) -> (N, 2^m): probability of every pattern of m independent bits, bit 0 the least significant."""
    joint = p.new_ones(p.shape[0], 1)
    for i in range(p.shape[1]):
        one = p[:, i : i + 1]
        joint = torch.cat([joint * (1 - one), joint * one], dim=1)
    return joint


def _entropy(p: Tensor, log_eps: float) -> Tensor:
    # clamp_min keeps 0 log 0 at 0 and its gradient finite.
    return -(p * (p + log_eps).clamp_min(1e-30).log()).sum()
