"""The Fréchet distance between two Gaussians fitted to features (Heusel et al., 2017, "GANs Trained by a Two
Time-Scale Update Rule", eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics.base import DistributionMetric
from tokbench.metrics.statistics import FeatureStatistics


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """``|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^{1/2})``: float64 (D,), (D, D) twice.

    The trace of the root is the sum of the singular values of ``C1^{1/2} C2^{1/2}``: as exact as the eigenvalues of
    ``C1 C2`` (which is not symmetric), in a fraction of the time.
    """
    product = _root(cov_1) @ _root(cov_2)
    trace = torch.linalg.svdvals(product).sum()
    difference = mean_1 - mean_2
    return float(difference @ difference + cov_1.trace() + cov_2.trace() - 2 * trace)


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def check_rank(label: str, role: str, statistics: FeatureStatistics) -> None:
    """n images give a covariance of rank n - 1 at most; below full rank the distance is a number without meaning."""
    if 0 <= statistics.n <= statistics.dim:
        raise TokbenchError(
            f"{label} needs at least {statistics.dim + 1} {role} images for a covariance of full rank "
            f"({statistics.dim} features); there are {statistics.n}"
        )


class FrechetMetric(DistributionMetric):
    """Fréchet distance in one feature space."""

    direction = "lower"

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, quick: bool = False
    ) -> tuple[float, float | None]:
        check_rank(self.label, "reference", reference)
        check_rank(self.label, "sample", sample)
        return frechet_distance(reference.mean, reference.covariance, sample.mean, sample.covariance), None
