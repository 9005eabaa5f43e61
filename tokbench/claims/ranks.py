"""Rank correlations over models, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

DRAWS, SEED = 2000, 0  # of the bootstrap
FEWEST = 5  # models below which there is no correlation worth the name


class Correlation(NamedTuple):
    """Spearman's, with the middle 95 % and the standard deviation of what resampled models give."""

    rho: float
    low: float
    high: float
    deviation: float
    n: int

    @property
    def text(self) -> str:
        """``95 % interval -0.12 to 0.54 over 25 tokenizers``."""
        return f"95 % interval {self.low:.2f} to {self.high:.2f} over {self.n} tokenizers"


def correlation(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Of two measures of the same models; None of fewer than five, or where one of them does not vary."""
    return _summary([x], y)


def difference(x: Sequence[float], other: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """By how much x correlates more with y than the other does, both on the same resampled models."""
    return _summary([x, other], y)


def _summary(measures: Sequence[Sequence[float]], y: Sequence[float]) -> Correlation | None:
    import numpy as np
    from scipy.stats import rankdata

    n = len(y)
    if n < FEWEST or any(len(set(values)) < 2 for values in (*measures, y)):
        return None
    drawn = np.random.default_rng(SEED).integers(0, n, (DRAWS, n))
    chosen = np.concatenate([np.arange(n)[None], drawn])  # the first is all of them
    target = rankdata(np.asarray(y, np.float64)[chosen], axis=1)
    with np.errstate(invalid="ignore"):  # the models of a resample may all have one value
        found = [_pearson(rankdata(np.asarray(values, np.float64)[chosen], axis=1), target) for values in measures]
    each = found[0] if len(found) == 1 else found[0] - found[1]
    resampled = each[1:][np.isfinite(each[1:])]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Correlation(float(each[0]), float(low), float(high), float(resampled.std(ddof=1)), n)


def _pearson(a: Array, b: Array) -> Array:
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    found: Array = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)) ** 0.5
    return found
