"""What codes cost: fixed length, order-0 entropy, and the generator's own code length. All in bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tokbench.generators.base import Generator
from tokbench.generators.exact import Exact


def model_bits(generator: Generator, codes: Tensor, condition: Tensor | None = None, batch_size: int = 16) -> Tensor:
    """Bits that each image's codes (n, *grid, D) cost under the generator, float64 (n,).

    The code length of an ideal entropy coder for ``ar``; an estimate of an upper bound of it for ``mlm``.
    """
    return _bits(generator.nll, generator, codes, condition, batch_size)


def bits_by_position(generator: Exact, codes: Tensor, condition: Tensor | None = None, batch_size: int = 16) -> Tensor:
    """Bits that the codes of each position cost, in the order in which the generator says them, float64 (n, T); of
    those that the condition does not give."""
    return _bits(generator.nll_by_position, generator, codes, condition, batch_size)


@torch.no_grad()
def _bits(
    nats: Callable[..., Tensor], generator: Generator, codes: Tensor, condition: Tensor | None, batch_size: int
) -> Tensor:
    found = []
    for start in range(0, len(codes), batch_size):
        part = codes[start : start + batch_size].to(generator.device)
        of = None if condition is None else condition[start : start + batch_size].to(generator.device)
        found.append(nats(part, of).cpu() / math.log(2))
    return torch.cat(found)


def entropy_bits(codes: Tensor) -> float:
    """Bits an image when each depth's codes (n, *grid, D) are coded on their own with the frequencies of these n."""
    total, per_image = 0.0, codes[0, ..., 0].numel()
    for depth in range(codes.shape[-1]):
        counts = codes[..., depth].unique(return_counts=True)[1].double()  # of 2^62 there is no whole histogram
        p = counts / counts.sum()
        total -= float((p * p.log2()).sum()) * per_image
    return total


def fixed_bits(vocabulary: tuple[int, ...], positions: int) -> float:
    """Bits an image at a fixed length: positions times the sum of log2 K_d."""
    return positions * math.fsum(math.log2(size) for size in vocabulary)
