"""The Fréchet distance between two Gaussians fitted to features (Heusel et al., 2017, "GANs Trained by a Two
Time-Scale Update Rule", eq. 6), and how uncertain it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics.base import FEW_IMAGES, Comparison, DistributionMetric
from tokbench.metrics.feature_statistics import FeatureStatistics

BLOCKS = 10  # of the jackknife


def frechet_distance(mean_1: Tensor, cov_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """``|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^{1/2})``: float64 (D,), (D, D) twice."""
    return distance_from_root(mean_1, cov_1.trace(), root(cov_1), mean_2, cov_2)


def distance_from_root(mean_1: Tensor, trace_1: Tensor, root_1: Tensor, mean_2: Tensor, cov_2: Tensor) -> float:
    """The same with ``C1^{1/2}`` at hand.

    ``C1 C2`` is not symmetric; ``C1^{1/2} C2 C1^{1/2}`` is and has the same eigenvalues, which then cost a
    thirtieth of the time. Of two equal sets rounding leaves some 1e-8 of the traces, on either side: never below 0.
    """
    values = torch.linalg.eigvalsh(root_1 @ cov_2 @ root_1)
    difference = mean_1 - mean_2
    distance = difference @ difference + trace_1 + cov_2.trace() - 2 * values.clamp(min=0).sqrt().sum()
    return float(distance.clamp(min=0))


def root(cov: Tensor) -> Tensor:
    """The symmetric square root of a covariance (D, D)."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def rank_problem(label: str, images: str, n: int, dim: int) -> str | None:
    """n images give a covariance of rank n - 1 at most; below full rank the distance is a number without meaning."""
    if n > dim:
        return None
    return f"{label} needs at least {dim + 1} {images} for a covariance of full rank ({dim} features); there are {n}"


def check_rank(label: str, images: str, statistics: FeatureStatistics) -> None:
    """TokbenchError where ``rank_problem`` has one. A statistics file does not say its n (-1), and passes."""
    if statistics.n >= 0 and (problem := rank_problem(label, images, statistics.n, statistics.dim)):
        raise TokbenchError(problem)


def jackknife_stderr(reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool) -> float | None:
    """Standard error of the distance by leaving out each of ten blocks of images (delete-a-group jackknife).

    ``paired`` leaves out the originals of a block too. The bias of the distance at this n is not part of it. None when
    the features were not kept, or when what remains would not give a covariance of full rank.
    """
    if len(sample.positions) != sample.n or sample.n * (BLOCKS - 1) // BLOCKS <= sample.dim:
        return None
    if paired and len(reference.positions) != reference.n:
        return None
    fixed = None if paired else (reference.mean, reference.covariance.trace(), root(reference.covariance))
    distances = []
    for block in range(BLOCKS):
        mean, cov = sample.without(sample.positions % BLOCKS == block)
        if fixed is not None:
            distances.append(distance_from_root(*fixed, mean, cov))
        else:
            distances.append(frechet_distance(*reference.without(reference.positions % BLOCKS == block), mean, cov))
    centre = sum(distances) / BLOCKS
    return math.sqrt((BLOCKS - 1) / BLOCKS * sum((d - centre) ** 2 for d in distances))


class FrechetMetric(DistributionMetric):
    """Fréchet distance in one feature space; under 10,000 images with a standard error."""

    def too_few(self, count: int, dim: int) -> str | None:
        return rank_problem(self.label, self.noun, count, dim)

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        check_rank(self.label, f"reference {self.noun}", reference)
        check_rank(self.label, self.noun, sample)
        value = frechet_distance(sample.mean, sample.covariance, reference.mean, reference.covariance)
        if quick or sample.n >= FEW_IMAGES:
            return Comparison(value)
        return Comparison(value, jackknife_stderr(reference, sample, paired=paired))
