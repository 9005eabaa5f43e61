"""Pixel accuracy: the share of pixels whose label comes back."""

from __future__ import annotations

from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.registry import register
from tokbench.results.definitions import Definition, Shown


@register
class PixelAccuracy(PairMetric):
    """Of label maps; all classes count, a void or unlabelled one too."""

    name = "pixel_accuracy"
    kinds = ("labels",)
    definition = Definition("pixel accuracy", "higher", "", Shown(4, usual=True))

    def per_image(self, pairs: Pairs) -> Tensor:
        return (pairs.reference == pairs.sample).double().flatten(1).mean(1)
