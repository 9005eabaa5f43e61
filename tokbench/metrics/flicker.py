"""How much more, or less, a reconstruction moves from frame to frame than its original."""

from __future__ import annotations

from torch import Tensor

from tokbench.config.grid import Size, axes
from tokbench.errors import TokbenchError
from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.registry import register
from tokbench.results.definitions import Definition, Shown


def flicker(reference: Tensor, sample: Tensor) -> Tensor:
    """``mean |(x[t+1] - x[t]) - (y[t+1] - y[t])| / 255`` of each clip, over steps, pixels and channels.

    uint8 (B, C, T, H, W) twice, T of at least 2 -> float64 (B,) in [0, 2]. Nothing is warped: a constant error in
    every frame costs nothing, one that comes and goes costs twice.
    """
    check_pair("Flicker", reference, sample, dims=5)
    if reference.shape[2] < 2:
        raise TokbenchError(f"Flicker needs clips of at least 2 frames, got {tuple(reference.shape)}")
    error = reference.float() - sample.float()
    steps = (error[:, :, 1:] - error[:, :, :-1]).abs_()
    return steps.sum(4).double().sum(dim=(1, 2, 3)) / steps[0].numel() / 255


@register
class Flicker(PairMetric):
    """Mean absolute difference of the frame differences, on a scale where black to white is 1."""

    name = "flicker"
    definition = Definition("Flicker", "lower", "", Shown(4, usual=True))
    axes = (3,)

    def unavailable(self, size: Size | None = None) -> str | None:
        if size is not None and len(axes(size)) == 3 and axes(size)[0] < 2:
            return f"{self.label} needs clips of at least 2 frames; these have 1"
        return super().unavailable(size)

    def per_image(self, pairs: Pairs) -> Tensor:
        clips = (images.unflatten(0, (pairs.count, -1)).transpose(1, 2) for images in (pairs.reference, pairs.sample))
        return flicker(*clips)
