"""Bits and integers: LFQ codes, their orders, and their factorisation into sub-tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_BITS = 62
"""Of one code, an int64."""


def bits_to_index(bits: Tensor, *, msb_first: bool = False) -> Tensor:
    """bits (..., n), bool -> int64 (...): channel i is bit i (MAGVIT-v2, arXiv:2310.05737, eq. 4), or bit n-1-i."""
    n = bits.shape[-1]
    weights = 2 ** torch.arange(n, device=bits.device)
    return (bits.long() * (weights.flip(0) if msb_first else weights)).sum(-1)


def index_to_bits(index: Tensor, n: int, *, msb_first: bool = False) -> Tensor:
    """The inverse: int64 (...) -> bool (..., n)."""
    shifts = torch.arange(n, device=index.device)
    # Spelled out, here and below: ONNX exporters know no ">>".
    return (torch.bitwise_right_shift(index[..., None], shifts.flip(0) if msb_first else shifts) & 1).bool()


def factorize(codes: Tensor, bits: Sequence[int]) -> Tensor:
    """Split integers (...) of sum(bits) bits into sub-tokens (..., len(bits)), low bits first.

    ``factorize(index, (6, 12))`` is Open-MAGVIT2's split: index == low + (high << 6). MAGVIT-v2 uses (9, 9).
    """
    parts, shift = [], 0
    for width in bits:
        parts.append(torch.bitwise_right_shift(codes, shift) & ((1 << width) - 1))
        shift += width
    return torch.stack(parts, dim=-1)


def join(subcodes: Tensor, bits: Sequence[int]) -> Tensor:
    """The inverse of ``factorize``: (..., len(bits)) -> (...)."""
    total, shift = torch.zeros_like(subcodes[..., 0]), 0
    for i, width in enumerate(bits):
        total = total + torch.bitwise_left_shift(subcodes[..., i], shift)
        shift += width
    return total
