"""What a metric is: features of images -> additive statistics -> one value, with name, direction, unit and version.

Three kinds, told apart by what they look at:

- ``PairMetric``: original and reconstruction, one number per image, averaged (PSNR, SSIM, LPIPS).
- ``CodeMetric``: the histogram of the codes of the whole split (usage, perplexity, entropy).
- ``DistributionMetric``: a feature space in which two sets of images are compared as wholes (FID, KID).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from tokbench.config.grid import Size, axes, shortest
from tokbench.config.kind import SHOWN, Kind
from tokbench.errors import TokbenchError, size_text
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.statistics import CodeHistogram, Mean, PairStatistics, Statistics
from tokbench.results.definitions import Definition, Direction
from tokbench.results.record import MetricValue, defined

Task = Literal["reconstruction", "generation"]

FEW_IMAGES = 10_000  # under this many, distribution metrics are biased enough to say so beside the number


class Metric(ABC):
    """What every metric declares once. ``version`` grows whenever the number for the same images would change.

    ``definition`` is its label, direction, unit and how it is shown; the class of a name among ``DEFINITIONS`` gets
    that one when it is registered.
    """

    name: ClassVar[str]
    definition: ClassVar[Definition]
    version: ClassVar[int] = 1
    tasks: ClassVar[tuple[Task, ...]] = ("reconstruction",)
    weights: ClassVar[tuple[str, ...]] = ()
    min_size: ClassVar[int] = 1  # the smallest image side it is defined for, in pixels
    axes: ClassVar[tuple[int, ...]] = (2, 3)  # 2: images; 3: clips
    kinds: ClassVar[tuple[Kind, ...]] = ("image",)  # what it can be measured on
    source: ClassVar[str] = ""  # the data source whose ``truth`` it needs; empty: any
    default: ClassVar[bool] = True  # measured when nobody says which metrics

    @property
    def label(self) -> str:
        return self.definition.label

    @property
    def variant(self) -> str:
        """What a version says after the number: the settings, of a metric that has some."""
        return ""

    def with_settings(self, settings: dict[str, float]) -> Metric:
        """The metric with settings by name. TokbenchError for one that it has not, or out of its range."""
        raise TokbenchError(f"{self.name} has no settings: leave out {', '.join(settings)}")

    @property
    def direction(self) -> Direction:
        return self.definition.direction

    def no_value(self, size: Size | None, kind: Kind, source: str) -> str | None:
        """One line on why there can be no value of such images or maps of a source (a spec string) here; None when it
        can be computed."""
        if kind not in self.kinds:
            return f"{self.label} is of {' and '.join(SHOWN[k] for k in self.kinds)}; these are {SHOWN[kind]}"
        if self.source and source.partition(":")[0] != self.source:
            return f"{self.label} is of images whose content is known: use the data source {self.source!r}"
        return self.unavailable(size)

    def unavailable(self, size: Size | None = None) -> str | None:
        """One line on why there can be no value here (weights, image size), or None when it can be computed."""
        if size is not None and len(axes(size)) not in self.axes:
            wanted = "clips" if self.axes == (3,) else "images"
            return f"{self.label} compares {wanted}; these are of {size_text(size)}"
        if size is not None and shortest(size) < self.min_size:
            return f"{self.label} needs images of at least {self.min_size} pixels per side; these have {shortest(size)}"
        if self.weights:
            from tokbench import weights

            for name in self.weights:
                if weights.find(name) is None:
                    return f"no weights {name!r}: run `tokbench weights get {name}`"
        return None

    def result(
        self,
        value: float | None,
        n: int,
        protocol: str,
        *,
        stderr: float | None = None,
        by_depth: list[float] | None = None,
        note: str | None = None,
        **extra: object,
    ) -> MetricValue:
        """The value with everything a table needs. ``version`` names protocol, metric, its own version and settings."""
        if value is not None and not math.isfinite(value):
            value, note = None, note or f"{self.label} came out as {value}"
        version = f"{protocol}/{self.name}-{self.version}{self.variant}"
        beside = {"stderr": stderr, "by_depth": by_depth, "note": note, "extra": extra}
        return defined(self.name, value, n, version, self.definition, **beside)


T = TypeVar("T")


class Pairs:
    """A batch of originals and reconstructions, uint8 (B, C, H, W) each, and what several metrics need of it. Of maps
    (``tokbench.data.maps``) as these are: labels int64, depth float.

    Of clips (B, C, T, H, W) the frames are the images: (B * T, C, H, W).
    ``truth``: ``ImageDataset.truth`` of each, where a metric is of that source alone.
    """

    def __init__(self, reference: Tensor, sample: Tensor, truth: Sequence[Any] = ()) -> None:
        from tokbench.data.pixels import frames

        self.count, self.truth = len(reference), truth
        self.reference, self.sample = frames(reference), frames(sample)
        self._found: dict[Any, Any] = {}

    def once(self, function: Callable[[Tensor, Tensor], T]) -> T:
        """``function(reference, sample)``, computed for the first metric that asks."""
        if function not in self._found:
            self._found[function] = function(self.reference, self.sample)
        return self._found[function]  # type: ignore[no-any-return]


class PairMetric(Metric):
    """A number for every (original, reconstruction) pair. The value is the mean over images; a clip has the mean of
    its frames."""

    @abstractmethod
    def per_image(self, pairs: Pairs) -> Tensor:
        """float, one for each image of ``pairs.reference``."""

    def statistics(self, channels: int) -> PairStatistics:
        """Empty ones, for images of so many channels, or label maps of so many classes."""
        return Mean()

    def update(self, statistics: Any, pairs: Pairs) -> Tensor | None:
        """Add what a batch says to those of ``statistics``; returns it, (B,) or (B, T) of clips, where it is a number
        for each image."""
        values = self.per_image(pairs)
        values = values if len(values) == pairs.count else values.unflatten(0, (pairs.count, -1))
        statistics.update(values)
        return values


class CodeMetric(Metric):
    """A function of how often every code was used, at every depth of the code stack."""

    kinds = ("image", "labels", "depth")

    @abstractmethod
    def per_depth(self, histogram: CodeHistogram) -> list[float]:
        """One number for each of the D codes of a position."""

    def total(self, per_depth: list[float], histogram: CodeHistogram) -> float:
        return sum(per_depth) / len(per_depth)


class Comparison(NamedTuple):
    """What a distribution metric found; ``extra`` goes into the record beside the value."""

    value: float
    stderr: float | None = None
    extra: dict[str, float] = {}  # noqa: RUF012  (never changed)


class DistributionMetric(Metric):
    """Two sets of images compared in the feature space ``extractor`` (``tokbench.metrics.extractors``)."""

    axes = (2,)
    extractor: ClassVar[str]
    noun: ClassVar[str] = "images"  # what it compares, in messages
    reference_split: ClassVar[Literal["same", "train"]] = "same"
    reservoir: ClassVar[bool] = False  # needs features themselves, not their mean and covariance alone
    depthwise: ClassVar[bool] = True  # cheap enough for a value at every depth
    alters: Hashable | None = None  # what is decoded in place of the images' own codes (``altered``)

    def too_few(self, count: int, dim: int) -> str | None:
        """Why ``count`` images in a space of ``dim`` dimensions cannot give a value, said before any is looked at."""
        return None

    def wrong_sets(self, count: int, reference: Any) -> str | None:
        """Why so many generated images and this data set may not be compared under the metric's name."""
        return None

    @abstractmethod
    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        """The value and, unless ``quick``, its standard error where there is one.

        ``paired``: equal positions belong together (an original and its reconstruction).
        Raises ``TokbenchError`` where it must refuse.
        """


class ScoreMetric(Metric):
    """A number about one set of images alone, from its features in the space ``extractor``."""

    axes = (2,)
    extractor: ClassVar[str]

    @abstractmethod
    def statistics(self, count: int) -> Statistics:
        """Empty statistics for ``count`` images; ``update(features, positions)`` fills them."""

    @abstractmethod
    def score(self, statistics: Statistics) -> tuple[float, float]:
        """The value and the standard deviation over its splits. ``TokbenchError`` is a refusal."""


def check_pair(name: str, reference: Tensor, sample: Tensor, *, min_size: int = 1, dims: int = 4) -> None:
    """Both uint8 (B, C, H, W) of one shape, C 3 or 1, or one clear line saying which is not; ``dims`` 5 is clips."""
    if reference.ndim != dims:
        wanted = "frames (B, C, H, W)" if dims == 4 else "clips (B, C, T, H, W)"
        raise TokbenchError(f"{name} compares {wanted}, got {tuple(reference.shape)}")
    for role, images in (("reference", reference), ("sample", sample)):
        check_uint8(name, images, role)
    if reference.shape != sample.shape:
        raise TokbenchError(
            f"{name}: reference {tuple(reference.shape)} and sample {tuple(sample.shape)} differ in shape; "
            "crop or resize both the same way first"
        )
    if min(reference.shape[-2:]) < min_size:
        raise TokbenchError(f"{name} needs images of at least {min_size} pixels per side, got {tuple(reference.shape)}")


def check_uint8(name: str, images: Tensor, role: str = "images") -> None:
    """Uint8 images, RGB (B, 3, H, W) or grey (B, 1, H, W), or clips (B, 3, T, H, W); else a ``TokbenchError``."""
    if images.dtype != torch.uint8:
        low, high = (f"{float(images.min()):.3g}", f"{float(images.max()):.3g}") if images.numel() else ("-", "-")
        raise TokbenchError(
            f"{name}: {role} must be uint8 in 0..255, got {str(images.dtype).removeprefix('torch.')} in "
            f"[{low}, {high}]; tokbench.data.pixels.to_uint8 rounds images in [-1, 1] the protocol's way"
        )
    if images.ndim not in (4, 5) or images.shape[1] not in (1, 3):
        raise TokbenchError(f"{name}: {role} must be (B, 3, H, W) or grey (B, 1, H, W), got {tuple(images.shape)}")
