"""Improved precision and recall (Kynkäänniemi et al., 2019), k = 3."""

from __future__ import annotations

from tokbench.errors import TokbenchError
from tokbench.metrics.base import Comparison, DistributionMetric
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.registry import register

NEIGHBOURS = 3


def precision_and_recall(reference: FeatureStatistics, sample: FeatureStatistics) -> tuple[float, float]:
    """(precision, recall) of the kept features (at most 10,000 a side), by torch-fidelity's code."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    real, fake = reference.features(), sample.features()
    if min(len(real), len(fake)) <= NEIGHBOURS:
        raise TokbenchError(
            f"precision and recall look at {NEIGHBOURS} neighbours; there are {len(fake)} images and {len(real)} in "
            "the reference"
        )
    found = prc_features_to_metric(
        fake, real, prc_neighborhood=NEIGHBOURS, prc_batch_size=2000, save_cpu_ram=True, verbose=False
    )
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


class _Manifold(DistributionMetric):
    tasks = ("reconstruction", "generation")
    extractor, weights = "inception-fid", ("inception-fid",)
    reservoir, default = True, False
    which: int

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        return Comparison(precision_and_recall(reference, sample)[self.which])


@register
class Precision(_Manifold):
    """Fraction of the images within the reference's manifold: balls to the third neighbour, Inception features.

    The paper used VGG-16 features; Inception's are what generators are compared by since ADM. The value depends on
    the number of images: compare at equal n.
    """

    name, which = "precision", 0


@register
class Recall(_Manifold):
    """Fraction of the reference within the images' manifold; see ``Precision``."""

    name, which = "recall", 1
