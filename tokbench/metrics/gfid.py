"""gFID: generated images against real ones."""

from __future__ import annotations

from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.registry import register


@register
class GFID(FrechetMetric):
    """Fréchet Inception distance between generated images and a data set, or published statistics (``.npz``)."""

    name, tasks = "gfid", ("generation",)
    extractor, weights = "inception-fid", ("inception-fid",)
