"""Random numbers as a pure function of (seed, epoch, index): the same crop whatever worker draws it, and after resume.

The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014):
a few integer operations, no state to keep and no library whose stream could change between versions.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def uniforms(count: int, seed: int, epoch: int, index: int) -> list[float]:
    """``count`` numbers in [0, 1), independent for different (seed, epoch, index)."""
    state = 0
    for key in (seed, epoch, index):
        state = _mix((state + _GOLDEN + key) & _MASK)
    numbers = []
    for _ in range(count):
        state = (state + _GOLDEN) & _MASK
        numbers.append((_mix(state) >> 11) * 2.0**-53)
    return numbers


def below(bound: int, uniform: float) -> int:
    """A number in [0, 1) -> an integer in 0..bound-1."""
    return min(int(uniform * bound), bound - 1)
