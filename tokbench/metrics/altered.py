"""Distances between images and what the decoder makes of other codes than theirs: how well it bears a generator's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, did_you_mean
from tokbench.metrics.base import Metric
from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.inception import EARLIER, NAME
from tokbench.metrics.registry import register
from tokbench.results.definitions import Definition, Shown

Altered = Callable[[Tensor | None, Tensor, Tensor], Tensor]
"""Latents, where the alteration is of them, codes (B, *grid, D) and places in the data set (B,) -> other codes."""
Images = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""All of this process's images once, as the model takes them, with their places in the data set."""


class Alteration(ABC):
    """How codes are altered; a frozen dataclass of its settings. Equal ones are decoded once for all their metrics."""

    of_latents: ClassVar[bool] = False

    @property
    def variant(self) -> str:
        """The settings in a version's characters: values of others never share a column."""
        return "".join(f"-{key}{value:g}" for key, value in asdict(self).items())  # type: ignore[call-overload]

    @abstractmethod
    def begin(self, tokenizer: Any, images: Images) -> Altered:
        """For one pass over ``images``. TokbenchError or ValueError, in one line, where this tokenizer has no such
        codes."""


class AlteredMetric(FrechetMetric):
    """Fréchet distance between the originals and images that were decoded from ``alters``' codes."""

    weights, default = (NAME,), False
    alters: Alteration
    alteration: ClassVar[type[Alteration]]

    def __init__(self, alters: Alteration | None = None) -> None:
        self.alters = alters or self.alteration()

    @property
    def variant(self) -> str:
        return self.alters.variant

    def with_settings(self, settings: dict[str, float]) -> AlteredMetric:
        known = [field.name for field in fields(self.alteration)]  # type: ignore[arg-type]
        for key in settings:
            if key not in known:
                raise TokbenchError(f"{self.name} has no setting {key!r}{did_you_mean(key, known)}")
        try:
            return type(self)(self.alteration(**settings))
        except ValueError as error:
            raise TokbenchError(f"{self.name}: {error}") from None


def in_every_layer(metric: type[AlteredMetric], label: str) -> None:
    """Register a metric by the features of FID, and in earlier layers of its network under names of their own, as
    rFID's (``inception_layers``)."""
    for layer in (2048, *EARLIER):
        last = layer == 2048
        said = label if last else f"{label.removesuffix('ID')}D-Inception{layer}"
        own = {
            "name": metric.name if last else f"{metric.name}_{layer}",
            "extractor": NAME if last else f"{NAME}-{layer}",
            "definition": Definition(said, "lower", "", Shown(2 if last else 3)),
            "__doc__": metric.__doc__,
            "__module__": metric.__module__,
        }
        register(type(f"{metric.__name__}{layer}", (metric,), own))


class Alterations:
    """Those of one pass, each with the codes it makes; ``refused`` says why of metrics that cannot have a value."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = [metric for metric in metrics if isinstance(metric, AlteredMetric)]
        self._begun: dict[Alteration, Altered] = {}

    def begin(self, tokenizer: Any, images: Images) -> dict[str, str]:
        """Why there will be no value, by the names of the metrics of which there will be none."""
        refused: dict[Alteration, str] = {}
        for alteration in dict.fromkeys(metric.alters for metric in self._metrics):
            try:
                self._begun[alteration] = alteration.begin(tokenizer, images)
            except (TokbenchError, ValueError) as error:
                refused[alteration] = str(error)
        return {metric.name: refused[metric.alters] for metric in self._metrics if metric.alters in refused}

    @torch.no_grad()
    def encode(self, tokenizer: Any, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Images as the model takes them -> latents, where an alteration is of them, and codes."""
        if not any(alteration.of_latents for alteration in self._begun):
            return None, tokenizer.encode(images)
        latents = tokenizer.latents(images)
        return latents, tokenizer.quantizer.encode(latents)

    @torch.no_grad()
    def codes(self, latents: Tensor | None, codes: Tensor, positions: Tensor) -> Iterator[tuple[Alteration, Tensor]]:
        """Each alteration with its codes of a batch that went through ``encode``."""
        for alteration, altered in self._begun.items():
            yield alteration, altered(latents, codes, positions)
