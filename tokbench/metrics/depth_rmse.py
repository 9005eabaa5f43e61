"""Root mean squared error of depth."""

from __future__ import annotations

from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.registry import register
from tokbench.results.definitions import Definition, Shown


@register
class DepthRMSE(PairMetric):
    """Mean over maps of each map's own, on the scale where a file's least number is 0 and its greatest 1."""

    name = "depth_rmse"
    kinds = ("depth",)
    definition = Definition("depth RMSE", "lower", "", Shown(4, usual=True))

    def per_image(self, pairs: Pairs) -> Tensor:
        difference = (pairs.reference - pairs.sample).double() / 2  # of [-1, 1]
        return difference.square().flatten(1).mean(1).sqrt()
