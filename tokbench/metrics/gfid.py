"""gFID: generated images against real ones."""

from __future__ import annotations

from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.registry import register


@register
class GFID(FrechetMetric):
    """Fréchet Inception distance between generated images and a data set, or published statistics (``.npz``)."""

    name, label, tasks = "gfid", "gFID", ("generation",)
    extractor, weights = "inception-fid", ("inception-fid",)
