"""The entropy cliff: after how many positions the codes of N images could be told apart.

Zheng et al. 2026 (arXiv:2605.06207): t* = ceil(log2 N / log2 K) positions of K equally likely codes number N images.
What follows t* is determined, for a training set of N, by what stands before it: it can be learned by heart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokbench.results.definitions import Definition, Shown
from tokbench.results.record import MetricValue, defined

NAME, VERSION = "entropy_cliff", 1
DEFINITION = Definition("entropy cliff t*", "none", "positions", Shown(0))


def cliff(by_position: Sequence[float], images: int) -> int | None:
    """The least t for which the first t positions together cost log2 N bits; None where all of them cost less.

    With log2 K bits per position it is the paper's formula.
    """
    total, wanted = 0.0, math.log2(images)
    for t, bits in enumerate(by_position, 1):
        total += bits
        if total >= wanted * (1 - 1e-12):
            return t
    return None


def cliff_value(
    by_position: Sequence[float], fixed: Sequence[float], images: int, n: int, protocol: str
) -> MetricValue:
    """t* by the mean NLL of held-out images at each position, beside that of codes which are all equally likely.

    Args:
        by_position: bits of all codes of a position, in the order in which the generator says them.
        fixed: bits of each position at a fixed length.
        images: N, the training images.
        n: held-out images that the NLL is a mean over.
    """
    found = cliff(by_position, images)
    note = None if found is not None else f"all codes of an image cost fewer than log2 of {images:,} images"
    extra = {"images": images, "of_equally_likely": cliff(fixed, images)}
    return defined(NAME, found, n, f"{protocol}/{NAME}-{VERSION}", DEFINITION, note=note, extra=extra)
