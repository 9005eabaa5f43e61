"""What quantizers to signs have in common: a position's bits as one code, or as several where one cannot hold them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.checks import require_positive
from quantizers.functional.bits import MOST_BITS, bits_to_index, factorize, index_to_bits, join


class BitCodes(Quantizer):
    """A quantizer of ``bits`` signs: up to 62 are one code, more are several of as equal width as it goes, of the first
    channels first.

    Attributes:
        widths: bits of each code. splits: how ``subcodes`` splits each of them, low bits first.
    """

    corners = True

    def __init__(
        self, label: str, bits: int, dim: int | None, factor_bits: Sequence[int] | None, *, channel_first: bool,
        check_finite: bool, msb_first: bool,
    ) -> None:  # fmt: skip
        require_positive(label, bits=bits)
        count = -(-bits // MOST_BITS)
        widths = [bits * (i + 1) // count - bits * i // count for i in range(count)]
        if factor_bits is not None and count > 1:
            raise ValueError(f"{label}: factor_bits splits one code, and {bits} bits are {count}; leave it out")
        super().__init__(
            bits if dim is None else dim,
            code_dim=bits,
            codebook_sizes=[2**width for width in widths],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        check_split(label, "factor_bits", factor_bits, bits)
        self.bits, self.widths, self.msb_first = bits, widths, msb_first
        self.splits = [tuple(factor_bits)] if factor_bits is not None else [default_split(width) for width in widths]

    def subcodes(self, codes: Tensor) -> Tensor:
        parts = zip(codes.unbind(-1), self.splits, strict=True)
        return torch.cat([factorize(code, split) for code, split in parts], dim=-1)

    def join(self, subcodes: Tensor) -> Tensor:
        parts = zip(subcodes.split([len(split) for split in self.splits], dim=-1), self.splits, strict=True)
        return torch.stack([join(part, split) for part, split in parts], dim=-1)

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return tuple(2**b for split in self.splits for b in split)

    def residual_scale(self) -> float:
        return 0.5

    def _encode(self, z: Tensor) -> Tensor:
        parts = (z > 0).split(self.widths, dim=-1)
        return torch.stack([bits_to_index(own, msb_first=self.msb_first) for own in parts], dim=-1)

    def _signs(self, codes: Tensor) -> Tensor:
        """codes (..., D) -> -1 and 1 (..., D, n): of each code in its own channels, 0 in the others."""
        signs, first = [], 0
        for code, width in zip(codes.unbind(-1), self.widths, strict=True):
            own = index_to_bits(code, width, msb_first=self.msb_first).float() * 2 - 1
            signs.append(F.pad(own, (first, self.bits - first - width)))
            first += width
        return torch.stack(signs, dim=-2)


def check_split(label: str, key: str, split: Sequence[int] | None, bits: int) -> None:
    """ValueError unless the parts are positive and add up to ``bits``."""
    if split is None:
        return
    for width in split:
        require_positive(label, **{key: width})
    if sum(split) != bits:
        raise ValueError(f"{label}: {key} {list(split)} must add up to {bits}, the bits of the codebook")


def default_split(bits: int) -> tuple[int, ...]:
    """Whole below 16 bits, else two halves: a generator's head over more is needlessly large."""
    return (bits,) if bits < 16 else (bits // 2, bits - bits // 2)
