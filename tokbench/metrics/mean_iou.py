"""Mean intersection over union: the Jaccard index of each class over all pixels of the split, then their mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import PairStatistics
from tokbench.results.definitions import Definition, Shown


class Confusion(PairStatistics):
    """How many pixels of each class (rows) came back as each (columns), by scikit-learn's ``confusion_matrix``."""

    def __init__(self, classes: int) -> None:
        self.n, self.counts = 0, torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, reference: Tensor, sample: Tensor) -> None:
        """Labels int64 (B, 1, H, W) twice."""
        from sklearn.metrics import confusion_matrix

        self.n += len(reference)
        known = range(len(self.counts))
        found = confusion_matrix(reference.flatten().cpu(), sample.flatten().cpu(), labels=known)
        self.counts += torch.from_numpy(found)

    def tensors(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "counts": self.counts}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.n, self.counts = int(tensors["n"]), tensors["counts"].cpu()

    def value(self) -> float:
        """The mean over the classes that occur, in the originals or in what came back."""
        both = self.counts.diagonal().double()
        either = self.counts.sum(0) + self.counts.sum(1) - both
        return float((both / either)[either > 0].mean())


@register
class MeanIoU(PairMetric):
    """Of label maps; classes that occur nowhere are left out, a void or unlabelled one counts like any other."""

    name = "mean_iou"
    kinds = ("labels",)
    definition = Definition("mean IoU", "higher", "", Shown(4, usual=True))

    def per_image(self, pairs: Pairs) -> Tensor:
        raise NotImplementedError("it is of all pixels of a split together")

    def statistics(self, channels: int) -> Confusion:
        return Confusion(channels)

    def update(self, statistics: Any, pairs: Pairs) -> None:  # of no image alone
        statistics.update(pairs.reference, pairs.sample)
