"""Which part of the codebook is used over the whole split."""

from __future__ import annotations

from tokbench.metrics.base import CodeMetric
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import CodeHistogram


@register
class CodeUsage(CodeMetric):
    """Fraction of the codebook's entries that occur at least once, 0..1: per depth, and their mean.

    Counted over every code of the split, never over a sliding window (a window of 65,536 codes could not show more
    than a quarter of 2^18). Fewer positions than entries bound it from above; the result then says so.
    """

    name = "usage"

    def per_depth(self, histogram: CodeHistogram) -> list[float]:
        return histogram.usage.usage
