"""The feature spaces of one pass: each image goes through each extractor once, whatever the number of metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics import reference_cache
from tokbench.metrics.base import FEW_IMAGES, DistributionMetric
from tokbench.metrics.extractors import Extractor, load_extractor
from tokbench.metrics.statistics import FeatureStatistics
from tokbench.results.record import MetricValue

RESERVOIR = 10_000  # features kept for metrics that need them: 80 MB at 2048 dimensions


class FeatureSpaces:
    """Statistics of originals and reconstructions in every feature space that some metric asks for.

    The statistics of the originals depend on the data, its preprocessing and the extractor alone; they are kept on
    disk (``reference_cache``) and the originals then need no second look.
    """

    def __init__(
        self, metrics: list[DistributionMetric], depths: list[int], device: torch.device, dataset: Any, protocol: str,
        train_dataset: Any = None,
    ) -> None:
        self.depths, self.dataset, self.protocol = depths, dataset, protocol
        self.extractors: dict[str, Extractor] = {}
        self.samples: dict[tuple[str, int], FeatureStatistics] = {}
        self.references: dict[tuple[str, str], FeatureStatistics] = {}
        self.pending: list[str] = []  # extractors whose reference is gathered in this pass
        self.warnings: list[str] = []
        # With few images the features themselves are kept: intervals are made by leaving some of them out.
        few = len(dataset) < FEW_IMAGES
        for name in dict.fromkeys(metric.extractor for metric in metrics):
            using = [metric for metric in metrics if metric.extractor == name]
            extractor = self.extractors[name] = load_extractor(name, device)
            capacity = RESERVOIR if few or any(metric.reservoir for metric in using) else 0
            for depth in depths:
                self.samples[name, depth] = FeatureStatistics(extractor.dim, capacity=capacity)
            if any(metric.reference_split == "same" for metric in using):
                known = reference_cache.load(dataset, protocol, extractor, capacity)
                if known is None:
                    self.pending.append(name)
                self.references[name, "same"] = known or FeatureStatistics(extractor.dim, capacity=capacity)
            if any(metric.reference_split == "train" for metric in using):
                self.references[name, "train"] = reference_cache.statistics_of(
                    train_dataset, protocol, extractor, capacity
                )

    def update_sample(self, depth: int, images: Tensor, positions: Tensor) -> None:
        for name, extractor in self.extractors.items():
            self.samples[name, depth].update(extractor(images), positions)

    def update_reference(self, images: Tensor, positions: Tensor) -> None:
        for name in self.pending:
            self.references[name, "same"].update(self.extractors[name](images), positions)

    def all_reduce(self) -> None:
        for statistics in self.samples.values():
            statistics.all_reduce()
        for name in self.pending:
            self.references[name, "same"].all_reduce()
            reference_cache.save(self.dataset, self.protocol, self.extractors[name], self.references[name, "same"])

    def value(self, metric: DistributionMetric, protocol: str) -> MetricValue:
        reference = self.references[metric.extractor, metric.reference_split]
        return distribution_value(
            metric, reference, [self.samples[metric.extractor, depth] for depth in self.depths], protocol,
            self.warnings,
        )


def distribution_value(
    metric: DistributionMetric, reference: FeatureStatistics, samples: list[FeatureStatistics], protocol: str,
    warnings: list[str],
) -> MetricValue:
    """The value over the last of ``samples``, and over each of them ``by_depth`` when there are several.

    A refusal (too few images for a covariance of full rank) is a value of None with its reason.
    """
    n = samples[-1].n
    try:
        value, stderr = metric.compare(reference, samples[-1])
        by_depth = [metric.compare(reference, s, quick=True)[0] for s in samples[:-1]] + [value]
    except TokbenchError as refusal:
        return metric.result(None, n, protocol, note=str(refusal))
    note = None
    if n < FEW_IMAGES:
        note = f"only {n} images: biased, compare at equal n only"
        warnings.append(f"{metric.label} over {n} images is biased (under {FEW_IMAGES:,}); compare at equal n only")
    return metric.result(
        value, n, protocol, stderr=stderr, by_depth=by_depth if len(samples) > 1 else None, note=note,
        n_reference=reference.n,
    )
