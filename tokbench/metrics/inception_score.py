"""Inception Score (Salimans et al., 2016, "Improved Techniques for Training GANs")."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tokbench.config.grid import Size
from tokbench.errors import TokbenchError
from tokbench.metrics.base import ScoreMetric
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import Statistics

SPLITS, CLASSES, SEED = 10, 1008, 2020
WEIGHTS = "inception-fid"


def split_of(count: int) -> Tensor:
    """The split 0..9 of every image of a set of ``count``, int64 (count,): torch-fidelity's shuffle and cuts.

    The images are shuffled first because a data set sorted by class would give every split few classes.
    """
    order = np.random.RandomState(SEED).permutation(count)
    splits = torch.empty(count, dtype=torch.int64)
    for split in range(SPLITS):
        splits[torch.from_numpy(order[split * count // SPLITS : (split + 1) * count // SPLITS])] = split
    return splits


class ClassStatistics(Statistics):
    """Per split: the sum of class probabilities and of ``sum p log p``, float64. Memory: 10 x 1008 numbers."""

    def __init__(self, classifier: Tensor, count: int) -> None:
        self.classifier = classifier  # (1008, 2048); without its bias, as in the original code
        self.splits = split_of(count)
        self.counts = torch.zeros(SPLITS, dtype=torch.float64)
        self.probabilities = torch.zeros(SPLITS, len(classifier), dtype=torch.float64)
        self.negentropy = torch.zeros(SPLITS, dtype=torch.float64)

    @property
    def n(self) -> int:  # type: ignore[override]
        return int(self.counts.sum())

    def update(self, features: Tensor, positions: Tensor) -> None:
        """features: float32 (B, 2048); positions: int64 (B,), the place of each image in its set."""
        logits = features.mm(self.classifier.to(features.device).T).double().cpu()
        log_p = logits.log_softmax(1)
        p = log_p.exp()
        where = self.splits[positions.cpu()]
        self.counts += torch.bincount(where, minlength=SPLITS)
        self.probabilities.index_add_(0, where, p)
        self.negentropy.index_add_(0, where, (p * log_p).sum(1))

    def tensors(self) -> dict[str, Tensor]:
        return {"counts": self.counts, "probabilities": self.probabilities, "negentropy": self.negentropy}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.counts, self.probabilities = tensors["counts"], tensors["probabilities"]
        self.negentropy = tensors["negentropy"]

    def scores(self) -> Tensor:
        """``exp(mean KL(p(y|x) || p(y)))`` of each split, float64 (10,)."""
        marginal = self.probabilities / self.counts[:, None]
        cross = (marginal * marginal.log().nan_to_num(neginf=0)).sum(1)
        return (self.negentropy / self.counts - cross).exp()


@register
class InceptionScore(ScoreMetric):
    """Mean over ten splits; the standard deviation over them is the ``split_std`` that papers print after a ±.

    Needs the network's classifier, which only the publisher's own file has.
    """

    name = "is"
    tasks = ("reconstruction", "generation")
    extractor, weights = WEIGHTS, (WEIGHTS,)
    default = False

    def unavailable(self, size: Size | None = None) -> str | None:
        from tokbench import weights

        if (reason := super().unavailable(size)) is not None:
            return reason
        if "fc.weight" not in weights.tensor_names(WEIGHTS):
            return (
                "the Inception weights here have no classifier, which IS needs: `tokbench weights add inception-fid "
                "FILE` with torch-fidelity's weights-inception-2015-12-05-6726825d.pth"
            )
        return None

    def statistics(self, count: int) -> ClassStatistics:
        from tokbench import weights

        return ClassStatistics(weights.load(WEIGHTS)["fc.weight"], count)

    def score(self, statistics: Statistics) -> tuple[float, float]:
        assert isinstance(statistics, ClassStatistics)
        if int(statistics.counts.min()) < 1:
            raise TokbenchError(f"IS makes {SPLITS} splits; there are {statistics.n} images")
        scores = statistics.scores()
        return float(scores.mean()), math.sqrt(float(scores.var(correction=0)))
