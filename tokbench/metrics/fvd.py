"""Fréchet video distance (Unterthiner et al., 2018, "Towards accurate generative models of video"): the Fréchet
distance between two sets of clips in the logits of I3D.

The literature computes it in several ways whose numbers differ by more than papers do, so each has a name of its own:
``rfvd_*`` of reconstructions against their originals and ``gfvd_*`` of generated clips, by the resize (``tf1`` or
``half_pixel``) and by the covariance (divided by n - 1, or by n: ``biased``). Settings that a paper fixes beyond these
are protocols (``tokbench.results.fvd_protocols``), each a metric too: ``gfvd_magvit`` ...
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from torch import Tensor

from tokbench import weights
from tokbench.config.grid import Size, axes
from tokbench.errors import TokbenchError
from tokbench.metrics.base import Comparison
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.i3d import I3D, NAME, Resize, too_short
from tokbench.metrics.registry import register
from tokbench.results.definitions import Definition, Shown
from tokbench.results.fvd_protocols import FVD_PROTOCOLS, FVDProtocol


def i3d_logits(videos: Tensor, resize: Resize = "tf1") -> Tensor:
    """I3D's logits of Kinetics-400, averaged over time: uint8 (B, 3, T, H, W) -> float32 (B, 400) on the same device.

    ``resize`` is ``"tf1"`` (TF-GAN, MAGVIT) or ``"half-pixel"`` (VideoGPT, StyleGAN-V, LARP); another one, or clips
    of under 9 frames, are a ``TokbenchError``.
    """
    return _network(str(videos.device), resize, weights.digest(NAME))(videos)


@functools.lru_cache(maxsize=2)
def _network(device: str, resize: Resize, digest: str) -> I3D:
    return I3D(device, resize)


def _fvd(label: str) -> Definition:
    return Definition(label, "lower", shown=Shown(digits=2, usual=True))


class FVD(FrechetMetric):
    """Fréchet distance of clips in I3D's 400 logits."""

    axes = (3,)
    noun = "clips"
    weights = (NAME,)
    biased: ClassVar[bool] = False

    def unavailable(self, size: Size | None = None) -> str | None:
        if size is not None and len(axes(size)) == 3 and (reason := too_short(self.label, axes(size)[0])):
            return reason
        return super().unavailable(size)

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        if self.biased:
            reference, sample = _Biased(self.label, reference), _Biased(self.label, sample)
        return super().compare(reference, sample, paired=paired, quick=quick)


class _Biased(FeatureStatistics):
    """The same features with a covariance divided by n, as StyleGAN-V's code has it."""

    def __init__(self, label: str, of: FeatureStatistics) -> None:
        if of.n < 0:
            raise TokbenchError(f"{label} divides by n, which a file of mu and sigma does not say")
        vars(self).update(vars(of))

    @property
    def covariance(self) -> Tensor:
        return super().covariance * ((self.n - 1) / self.n)

    def without(self, left_out: Tensor) -> tuple[Tensor, Tensor]:
        mean, covariance = super().without(left_out)
        n = self.n - int(left_out.sum())
        return mean, covariance * ((n - 1) / n)


class _TF1(FVD):
    extractor = f"{NAME}-tf1"


class _HalfPixel(FVD):
    extractor, default = f"{NAME}-half-pixel", False


@register
class RFVD(_TF1):
    """FVD of reconstructions and their originals: TensorFlow 1's resize, covariance divided by n - 1."""

    name, definition = "rfvd_tf1", _fvd("rFVD (tf1)")


@register
class RFVDBiased(_TF1):
    """The same with the covariance divided by n."""

    name, definition, biased, default = "rfvd_tf1_biased", _fvd("rFVD (tf1, biased)"), True, False


@register
class RFVDHalfPixel(_HalfPixel):
    """FVD of reconstructions and their originals: torch's resize, covariance divided by n - 1."""

    name, definition = "rfvd_half_pixel", _fvd("rFVD (half-pixel)")


@register
class RFVDHalfPixelBiased(_HalfPixel):
    """The same with the covariance divided by n."""

    name, definition, biased = "rfvd_half_pixel_biased", _fvd("rFVD (half-pixel, biased)"), True


@register
class GFVD(_TF1):
    """FVD of generated clips and real ones: TensorFlow 1's resize, covariance divided by n - 1."""

    name, definition, tasks = "gfvd_tf1", _fvd("gFVD (tf1)"), ("generation",)


@register
class GFVDBiased(_TF1):
    """The same with the covariance divided by n."""

    name, definition, tasks, biased = "gfvd_tf1_biased", _fvd("gFVD (tf1, biased)"), ("generation",), True
    default = False


@register
class GFVDHalfPixel(_HalfPixel):
    """FVD of generated clips and real ones: torch's resize, covariance divided by n - 1."""

    name, definition, tasks = "gfvd_half_pixel", _fvd("gFVD (half-pixel)"), ("generation",)


@register
class GFVDHalfPixelBiased(_HalfPixel):
    """The same with the covariance divided by n."""

    name, definition, tasks, biased = "gfvd_half_pixel_biased", _fvd("gFVD (half-pixel, biased)"), ("generation",), True


class _Protocol(FVD):
    """FVD under a paper's settings: a value only where all of them hold that can be checked."""

    tasks, default = ("generation",), False
    protocol: ClassVar[FVDProtocol]

    def __init_subclass__(cls) -> None:
        cls.extractor, cls.biased = f"{NAME}-{cls.protocol.resize}", cls.protocol.biased

    def unavailable(self, size: Size | None = None) -> str | None:
        if size is not None and len(axes(size)) == 3 and (reason := self.protocol.wrong_size(axes(size))):
            return reason
        return super().unavailable(size)

    def wrong_sets(self, count: int, reference: Any) -> str | None:
        windows = getattr(reference.view, "windows", "no")
        return self.protocol.wrong_reference(reference.split, windows) or self.protocol.wrong_count(count)

    def compare(
        self, reference: FeatureStatistics, sample: FeatureStatistics, *, paired: bool = False, quick: bool = False
    ) -> Comparison:
        if reference.n < 0:
            raise TokbenchError(f"the protocol {self.protocol.name} asks which clips the file of mu and sigma is of")
        if (reason := self.protocol.wrong_count(sample.n)) is not None:
            raise TokbenchError(reason)
        return super().compare(reference, sample, paired=paired, quick=quick)


@register
class MAGVIT(_Protocol):
    """FVD as MAGVIT and MAGVIT-v2 report it on UCF-101."""

    name, definition, protocol = "gfvd_magvit", _fvd("gFVD (magvit)"), FVD_PROTOCOLS["magvit"]


@register
class VideoGPT(_Protocol):
    """FVD as VideoGPT and TATS report it."""

    name, definition, protocol = "gfvd_videogpt", _fvd("gFVD (videogpt)"), FVD_PROTOCOLS["videogpt"]


@register
class StyleGANV(_Protocol):
    """FVD as StyleGAN-V reports it: fvd2048_16f."""

    name, definition = "gfvd_stylegan_v", _fvd("gFVD (stylegan-v fvd2048_16f)")
    protocol = FVD_PROTOCOLS["stylegan-v fvd2048_16f"]
