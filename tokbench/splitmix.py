"""SplitMix64: numbers that look random and are a pure function of their keys, with no state that could be lost.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: a few integer operations, the same
bits on every device, and no library whose stream could change between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
M1 = 0xBF58476D1CE4E5B9
M2 = 0x94D049BB133111EB


def signed(value: int) -> int:
    """As an int64 with the same bits."""
    value &= MASK
    return value - 2**64 if value >= 2**63 else value


_SIGNED1, _SIGNED2 = signed(M1), signed(M2)


def mix(value: int) -> int:
    """64 bits, 0 .. 2^64 - 1, well mixed."""
    value = ((value ^ (value >> 30)) * M1) & MASK
    value = ((value ^ (value >> 27)) * M2) & MASK
    return value ^ (value >> 31)


def mix_all(x: Tensor) -> Tensor:
    """The same of the bits of every int64 of a tensor."""
    x = _nearly_mixed(x)
    return (x >> 31).bitwise_and_(2**33 - 1).bitwise_xor_(x)


def top_bits(x: Tensor, count: int) -> Tensor:
    """The ``count`` highest bits of ``mix_all(x)``, at most 31: its last step changes only those below."""
    return (_nearly_mixed(x) >> (64 - count)).bitwise_and_(2**count - 1)


def _nearly_mixed(x: Tensor) -> Tensor:
    x = (x >> 30).bitwise_and_(2**34 - 1).bitwise_xor_(x).mul_(_SIGNED1)  # in place: memory is what it costs
    return (x >> 27).bitwise_and_(2**37 - 1).bitwise_xor_(x).mul_(_SIGNED2)
