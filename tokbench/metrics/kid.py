"""Kernel Inception distance (Bińkowski et al., 2018, "Demystifying MMD GANs")."""

from __future__ import annotations

from tokbench.errors import TokbenchError
from tokbench.metrics.base import Comparison, DistributionMetric
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.registry import register

SUBSETS, SUBSET_SIZE = 100, 1000


@register
class KID(DistributionMetric):
    """Unbiased squared MMD with the kernel ``(x . y / d + 1)^3``, mean over 100 subsets of 1,000 images.

    torch-fidelity's defaults and its code. Of more than 10,000 images a uniform sample of 10,000 features is used.
    Slightly negative values are sound: the two sets are then as alike as two samples of one.
    """

    name = "kid"
    tasks = ("reconstruction", "generation")
    extractor, weights = "inception-fid", ("inception-fid",)
    reservoir, default = True, False

    def too_few(self, count: int, dim: int) -> str | None:
        if count >= SUBSET_SIZE:
            return None
        return f"KID draws subsets of {SUBSET_SIZE:,} images; there are {count:,}"

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

        real, fake = reference.features(), sample.features()
        if min(len(real), len(fake)) < SUBSET_SIZE:
            raise TokbenchError(
                f"KID draws subsets of {SUBSET_SIZE:,} images; there are {len(fake)} and {len(real)} in the reference"
            )
        found = kid_features_to_metric(
            fake, real, kid_subsets=SUBSETS, kid_subset_size=SUBSET_SIZE, rng_seed=2020, verbose=False
        )
        return Comparison(found[KEY_METRIC_KID_MEAN], None, {"subset_std": found[KEY_METRIC_KID_STD]})
