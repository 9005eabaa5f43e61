"""Order-0 entropy of the codes: what a code costs once its frequencies are known."""

from __future__ import annotations

from tokbench.metrics.base import CodeMetric
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import CodeHistogram


@register
class CodeEntropy(CodeMetric):
    """Empirical entropy of one code in bits, 0..log2 K, per depth; the value is the mean over depths."""

    name = "entropy"

    def per_depth(self, histogram: CodeHistogram) -> list[float]:
        return histogram.usage.entropy_bits


@register
class EntropyRate(CodeMetric):
    """Bits per pixel when every depth's codes are entropy coded on their own with the split's frequencies.

    ``by_depth`` is cumulative: the rate of the first 1, 2, ... D codes of every position, and the value is the last.
    Never above the fixed-length rate ``H W sum_d log2 K_d / pixels``.
    """

    name = "entropy_bpp"

    def per_depth(self, histogram: CodeHistogram) -> list[float]:
        total, rates = 0.0, []
        for entropy in histogram.usage.entropy_bits:
            total += entropy * histogram.positions / histogram.pixels
            rates.append(total)
        return rates

    def total(self, per_depth: list[float], histogram: CodeHistogram) -> float:
        return per_depth[-1]
