"""Whether images drawn from captions show them: the right image is looked for among twenty, the nearest in pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from tokbench.data.draws import uniforms
from tokbench.results.definitions import Definition, Shown
from tokbench.results.record import MetricValue, defined

AMONG = 20
MOST = 1000  # captions that are asked for, where there are more
ENOUGH = 4  # draws of each caption
NAME = "retrieval_20"
DEFINITION = Definition(f"right among {AMONG}", "higher", "%", Shown(1, usual=True))


class Retrieval:
    """How often an image drawn for a caption is nearer to the image of that caption than to nineteen others of the set.

    Nearest is the smallest squared error of the pixels. The others are chosen at random, once for each caption, among
    those with another caption; chance is 5 %.

    Args:
        images: uint8 (m, C, H, W), the first of the set, with their captions.
    """

    def __init__(self, images: Tensor, captions: Sequence[str], seed: int) -> None:
        self.images, self.seed = images, seed
        self.candidates = torch.tensor([self._chosen(k, captions, seed) for k in range(len(images))])
        self.draws = torch.zeros(len(images), dtype=torch.float64)
        self.hits = torch.zeros(len(images), dtype=torch.float64)

    @staticmethod
    def possible(captions: Sequence[str]) -> bool:
        """Whether every caption has nineteen others."""
        return len(captions) - max(Counter(captions).values(), default=0) >= AMONG - 1

    @staticmethod
    def _chosen(right: int, captions: Sequence[str], seed: int) -> list[int]:
        """The right one first, then nineteen others."""
        order = uniforms(len(captions), seed, 0, right)
        others = [k for k, caption in enumerate(captions) if caption != captions[right]]
        return [right, *sorted(others, key=order.__getitem__)[: AMONG - 1]]

    def update(self, numbers: Sequence[int], drawn: Tensor) -> None:
        """Images uint8 (B, C, H, W) drawn for the captions of these numbers; those beyond the set are passed over."""
        for number, image in zip(numbers, drawn, strict=True):
            if number < len(self.images):
                others = self.images[self.candidates[number]].float()
                nearest = int((others - image.float()).square().flatten(1).sum(1).argmin())
                self.draws[number] += 1
                self.hits[number] += nearest == 0

    @property
    def enough(self) -> bool:
        """Whether more draws would add little."""
        return bool((self.draws >= ENOUGH).all())

    def value(self, protocol: str) -> MetricValue:
        """Per cent, and the standard error over captions, each being the mean of its draws."""
        seen = self.draws > 0
        shares = self.hits[seen] / self.draws[seen]
        n = int(seen.sum())
        return defined(
            NAME,
            100 * float(shares.mean()) if n else None,
            n,
            f"{protocol}/{NAME}-1",
            DEFINITION,
            stderr=100 * float(shares.std()) / math.sqrt(n) if n > 1 else None,
            extra={"chance": 100 / AMONG, "draws": int(self.draws.sum()), "seed": self.seed},
        )

    def summary(self) -> str:
        """What the number is, in a line."""
        n, draws = int((self.draws > 0).sum()), int(self.draws.sum())
        return (
            f"{DEFINITION.label}: nearest in pixels among the right and {AMONG - 1} other held-out images, {draws} "
            f"drawn for {n} captions (seed {self.seed}); chance is {100 / AMONG:g} %"
        )
