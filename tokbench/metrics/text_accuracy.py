"""How much of rendered text can still be read: character error rates against the size of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.config.grid import Size
from tokbench.data.text import SIZES, Written
from tokbench.metrics import tesseract
from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.registry import register
from tokbench.metrics.statistics import Mean
from tokbench.results.definitions import Definition, Shown


def error_rate(text: str, read: str) -> float:
    """The character error rate: characters to insert, delete and replace to make ``text`` of what was read (the
    Levenshtein distance) over those of ``text``, at most 1."""
    given, wanted = (np.array([ord(letter) for letter in line], dtype=np.int64) for line in (read, text))
    places = np.arange(len(wanted) + 1)
    row = places
    for letter in given:
        step = np.minimum(row + 1, np.concatenate(([row[0] + 1], row[:-1] + (wanted != letter))))
        row = np.minimum.accumulate(step - places) + places
    return min(1.0, float(row[-1]) / max(len(wanted), 1))


class Readings(Mean):
    """The mean over images, and by the size of the text the error rates of what was read of both."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = torch.zeros(len(SIZES), 3, dtype=torch.float64)  # images, error rates of originals and of these

    def count(self, truth: Sequence[Written], originals: Sequence[float], made: Sequence[float]) -> None:
        """Error rates of as many images."""
        for written, *rates in zip(truth, originals, made, strict=True):
            self.sizes[SIZES.index(written.size)] += torch.tensor([1.0, *rates], dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "sizes": self.sizes}

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        self.sizes = tensors["sizes"].cpu()

    def beside(self) -> dict[str, Any]:
        """``by_size``: pixels, images and the mean error rates of originals and reconstructions, smallest first."""
        rows = zip(SIZES, self.sizes.tolist(), strict=True)
        keys = ("size", "n", "cer_originals", "cer")
        found = [(size, int(n), originals / n, made / n) for size, (n, originals, made) in rows if n]
        return {"by_size": [dict(zip(keys, values, strict=True)) for values in found]}


@register
class TextAccuracy(PairMetric):
    """100 % less the character error rate of what Tesseract reads of a reconstruction, the mean over images.

    Of the data source ``text``, whose words are known. What Tesseract misreads of the originals stands beside it: no
    tokenizer can be expected to do better. What cannot be read at all scores some 10 %: now and then a letter is right
    by chance. Another version of Tesseract reads otherwise and makes another version of the metric.
    """

    name = "text_accuracy"
    definition = Definition("text accuracy", "higher", "%", Shown(1, usual=True))
    source = "text"

    def unavailable(self, size: Size | None = None) -> str | None:
        return super().unavailable(size) or tesseract.missing()

    def statistics(self, channels: int) -> Readings:
        return Readings()

    def per_image(self, pairs: Pairs) -> Tensor:
        """float64 (B,) in [0, 100]."""
        return 100 * (1 - torch.tensor(_error_rates(pairs.sample, pairs.truth), dtype=torch.float64))

    def update(self, statistics: Any, pairs: Pairs) -> Tensor:
        values = self.per_image(pairs)
        originals = _error_rates(pairs.reference, pairs.truth)
        statistics.count(pairs.truth, originals, (1 - values / 100).tolist())
        statistics.update(values)
        return values

    @property
    def variant(self) -> str:
        return "" if tesseract.missing() else f"-tesseract{tesseract.version()}"


def _error_rates(images: Tensor, truth: Sequence[Written]) -> list[float]:
    read = tesseract.read(images, [written.size for written in truth])
    return [error_rate(written.text, text) for written, text in zip(truth, read, strict=True)]
