"""Soft and stochastic choice of codes: Q(k|z) = softmax over k of -|z - e_k|^2 / temperature.

Lee et al. 2022, arXiv:2203.01941, section 3.2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NUMBERS = 2**24  # probabilities that sampling holds at a time


def soft_assignment(z: Tensor, codebook: Tensor, temperature: float) -> Tensor:
    """z (..., d), codebook (K, d) -> probabilities (..., K)."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature!r}")
    # |z|^2 is the same for all k and drops out of the softmax.
    return ((2 * z @ codebook.T - codebook.square().sum(1)) / temperature).softmax(-1)


def sample_codes(
    z: Tensor, codebook: Tensor, temperature: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """z (..., d) -> codes (...) drawn from ``soft_assignment`` and their vectors (..., d)."""
    flat = z.reshape(-1, z.shape[-1])
    step = max(1, _NUMBERS // len(codebook))
    parts = [
        torch.multinomial(soft_assignment(part, codebook, temperature), 1, generator=generator)[:, 0]
        for part in flat.split(step)
    ]
    codes = torch.cat(parts).reshape(z.shape[:-1])
    return codes, codebook[codes]
