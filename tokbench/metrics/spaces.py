"""The feature spaces of one pass: each image goes through each extractor once, whatever the number of metrics."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics import reference_cache
from tokbench.metrics.base import FEW_IMAGES, DistributionMetric, Metric, ScoreMetric
from tokbench.metrics.extractors import Extractor, extract, load_extractor
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.statistics import Statistics
from tokbench.results.record import MetricValue

RESERVOIR = 10_000  # features kept for metrics that need them: 80 MB at 2048 dimensions


class FeatureSpaces:
    """Statistics of samples (reconstructions at each depth, or generated images) in every feature space asked for.

    Args:
        metrics: those that can be computed; only distribution and score metrics are looked at.
        depths: the sets of samples there are, but for what metrics alter (``DistributionMetric.alters``).
        count: images in a set.
        reference_count: images in the reference, where it is another set of known size.

    Attributes:
        metrics: those that images are looked at for. Which cannot have a value of so few images is known at once.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        depths: list[int],
        device: torch.device,
        count: int,
        reference_count: int | None = None,
    ) -> None:
        self.depths, self.count = depths, count
        self.metrics: list[DistributionMetric | ScoreMetric] = []
        self.refused: dict[str, str] = {}
        self.extractors: dict[str, Extractor] = {}
        self.capacity: dict[str, int] = {}
        self.samples: dict[tuple[str, Hashable], FeatureStatistics] = {}
        self.scores: dict[tuple[str, Hashable], Statistics] = {}
        self.references: dict[tuple[str, str], FeatureStatistics] = {}
        self.pending: list[str] = []  # extractors whose reference is gathered in this pass
        self.warnings: list[str] = []
        fewest = count if reference_count is None else min(count, reference_count)
        loaded: dict[str, Extractor] = {}
        for metric in metrics:
            if isinstance(metric, DistributionMetric | ScoreMetric):
                if metric.extractor not in loaded:
                    loaded[metric.extractor] = load_extractor(metric.extractor, device)
                space = loaded[metric.extractor]
                if isinstance(metric, DistributionMetric) and (reason := metric.too_few(fewest, space.dim)):
                    self.refused[metric.name] = reason
                    continue
                self.metrics.append(metric)
                self.extractors[metric.extractor] = space
        for name, space in self.extractors.items():
            comparing = self._comparing(name)
            if not comparing:
                continue
            # With few images all features are kept: intervals are made by leaving some of them out.
            wanted = count < FEW_IMAGES or any(metric.reservoir for metric in comparing)
            self.capacity[name] = RESERVOIR if wanted else 0
            for which in dict.fromkeys(which for metric in comparing for which in self._sets(metric)):
                self.samples[name, which] = FeatureStatistics(space.dim, capacity=self.capacity[name])
        for metric in self.metrics:
            if isinstance(metric, ScoreMetric):
                self.scores |= {(metric.name, depth): metric.statistics(count) for depth in depths}

    def _sets(self, metric: DistributionMetric) -> Sequence[Hashable]:
        """The sets of samples that a metric compares with its reference."""
        if metric.alters is not None:
            return [metric.alters]
        return self.depths if metric.depthwise else self.depths[-1:]

    def _comparing(self, extractor: str) -> list[DistributionMetric]:
        return [m for m in self.metrics if isinstance(m, DistributionMetric) and m.extractor == extractor]

    def expect_reference(self, dataset: Any, protocol: str) -> None:
        """The reference is ``dataset``, which this pass looks at anyway, unless its statistics are kept already."""
        for name, capacity in self.capacity.items():
            if all(metric.reference_split != "same" for metric in self._comparing(name)):
                continue
            known = reference_cache.load_everywhere(dataset, protocol, self.extractors[name], capacity)
            self.references[name, "same"] = known or FeatureStatistics(self.extractors[name].dim, capacity=capacity)
            if known is None:
                self.pending.append(name)

    def read_reference(self, role: str, dataset: Any, protocol: str) -> None:
        """The reference is another data set: its statistics from the cache, else by one look at all of it."""
        looking = {
            name: self.extractors[name]
            for name in self.capacity
            if any(metric.reference_split == role for metric in self._comparing(name))
        }
        found = reference_cache.statistics_of(dataset, protocol, looking, self.capacity)
        self.references |= {(name, role): statistics for name, statistics in found.items()}

    def update_sample(self, which: Hashable, images: Tensor, positions: Tensor) -> None:
        """images: uint8 (B, C, H, W) of the set ``which``; positions: int64 (B,), the place of each in it."""
        scores = [m for m in self.metrics if isinstance(m, ScoreMetric) and (m.name, which) in self.scores]
        wanted = {name for name, of in self.samples if of == which} | {metric.extractor for metric in scores}
        looking = {name: space for name, space in self.extractors.items() if name in wanted}
        for name, features in extract(looking, images).items():
            if (name, which) in self.samples:
                self.samples[name, which].update(features, positions)
            for metric in scores:
                if metric.extractor == name:
                    self.scores[metric.name, which].update(features, positions)  # type: ignore[attr-defined]

    def update_reference(self, images: Tensor, positions: Tensor) -> None:
        """The originals of the same positions, for the extractors that have not seen them in an earlier run."""
        looking = {name: self.extractors[name] for name in self.pending}
        for name, features in extract(looking, images).items():
            self.references[name, "same"].update(features, positions)

    def all_reduce(self, dataset: Any = None, protocol: str = "") -> None:
        """Add up over processes; what was gathered of ``dataset`` is kept for later runs."""
        for statistics in [*self.samples.values(), *self.scores.values()]:
            statistics.all_reduce()
        for name in self.pending:
            self.references[name, "same"].all_reduce()
            reference_cache.save(dataset, protocol, self.extractors[name], self.references[name, "same"])

    def value(self, metric: Metric, protocol: str, *, paired: bool) -> MetricValue:
        """The value at the last depth, and at each of them ``by_depth`` when there are several.

        A refusal (too few images for a covariance of full rank) is a value of None with its reason.
        """
        if metric.name in self.refused:
            return metric.result(None, self.count, protocol, note=self.refused[metric.name])
        try:
            if isinstance(metric, ScoreMetric):
                n, stderr = self.scores[metric.name, self.depths[-1]].n, None
                found = [metric.score(self.scores[metric.name, depth]) for depth in self.depths]
                by_depth, extra = [value for value, _ in found], {"split_std": found[-1][1]}
            else:
                assert isinstance(metric, DistributionMetric)
                reference = self.references[metric.extractor, metric.reference_split]
                *prefixes, last = [self.samples[metric.extractor, which] for which in self._sets(metric)]
                paired = paired and metric.reference_split == "same"
                result = metric.compare(reference, last, paired=paired)
                by_depth = [metric.compare(reference, s, paired=paired, quick=True).value for s in prefixes]
                by_depth, stderr, n = [*by_depth, result.value], result.stderr, last.n
                extra = {**result.extra, "n_reference": reference.n}
        except TokbenchError as refusal:
            return metric.result(None, self.count, protocol, note=str(refusal))
        note = None
        if n < FEW_IMAGES:
            noun = getattr(metric, "noun", "images")
            note = f"only {n:,} {noun}: biased; compare at equal n only"
            self.warnings.append(f"{metric.label}: {note}")
        return metric.result(
            by_depth[-1],
            n,
            protocol,
            stderr=stderr,
            by_depth=by_depth if len(by_depth) > 1 else None,
            note=note,
            **extra,
        )
