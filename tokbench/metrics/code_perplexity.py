"""The number of equally likely codes that would have the same entropy."""

from __future__ import annotations

from tokbench.metrics.base import CodeMetric
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import CodeHistogram


@register
class CodePerplexity(CodeMetric):
    """``2^H`` of each depth's codes, 1..K; the value is the mean over depths."""

    name = "perplexity"

    def per_depth(self, histogram: CodeHistogram) -> list[float]:
        return [2.0**entropy for entropy in histogram.usage.entropy_bits]
