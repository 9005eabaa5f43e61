"""Random numbers of (seed, epoch, index) and nothing else: the same crop whatever worker draws it, and after resume."""

from __future__ import annotations

from tokbench.splitmix import GOLDEN, MASK, mix


def uniforms(count: int, seed: int, epoch: int, index: int) -> list[float]:
    """``count`` numbers in [0, 1), independent for different (seed, epoch, index)."""
    state = 0
    for key in (seed, epoch, index):
        state = mix((state + GOLDEN + key) & MASK)
    numbers = []
    for _ in range(count):
        state = (state + GOLDEN) & MASK
        numbers.append((mix(state) >> 11) * 2.0**-53)
    return numbers


def below(bound: int, uniform: float) -> int:
    """A number in [0, 1) -> an integer in 0..bound-1."""
    return min(int(uniform * bound), bound - 1)
