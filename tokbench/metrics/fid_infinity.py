"""FID at infinitely many images (Chong and Forsyth, 2020, "Effectively Unbiased FID and Inception Score")."""

from __future__ import annotations

import torch

from tokbench.errors import TokbenchError
from tokbench.metrics.base import Comparison, DistributionMetric
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.frechet import check_rank, distance_from_root, rank_problem, root
from tokbench.metrics.registry import register

POINTS = 15


def fid_infinity(reference: FeatureStatistics, sample: FeatureStatistics, *, seed: int = 0) -> float:
    """The intercept of FID over 1/n, from ``POINTS`` random subsets of half to all of the kept sample features.

    FID of n images is biased upwards by a term in 1/n; a straight line through several n removes it. The reference
    stays as it is. The intercept of sets that are nearly equal may lie below 0, which no distance does: then it is 0.
    """
    features = sample.features().double()
    n = len(features)
    first = max(n // 2, sample.dim + 1)
    if n - first < POINTS:
        raise TokbenchError(
            f"FID-infinity needs well over {2 * sample.dim} images to fit a line through; there are {n}"
        )
    generator = torch.Generator().manual_seed(seed)
    fixed = (reference.mean, reference.covariance.trace(), root(reference.covariance))
    inverse, distances = [], []
    for size in torch.linspace(first, n, POINTS).round().long().tolist():
        chosen = features[torch.randperm(n, generator=generator)[:size]]
        inverse.append(1 / size)
        distances.append(distance_from_root(*fixed, chosen.mean(0), torch.cov(chosen.T)))
    x, y = torch.tensor(inverse, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float((y.mean() - slope * x.mean()).clamp(min=0))


@register
class FIDInfinity(DistributionMetric):
    """FID extrapolated to n = infinity from at most 10,000 kept features. An option: it costs fifteen FIDs."""

    name = "fid_infinity"
    tasks = ("reconstruction", "generation")
    extractor, weights = "inception-fid", ("inception-fid",)
    reservoir, default, depthwise = True, False, False

    def too_few(self, count: int, dim: int) -> str | None:
        return rank_problem(self.label, "images", count, dim)

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        check_rank(self.label, "reference images", reference)
        return Comparison(fid_infinity(reference, sample))
