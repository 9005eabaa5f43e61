"""Exponential moving average of the weights: what is saved and measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def warm_decay(decay: float, updates: float) -> float:
    """The decay after so many updates: (1 + n) / (10 + n) until it reaches ``decay``, as in TensorFlow's
    ExponentialMovingAverage, so that a short run is not dominated by its initial weights."""
    return min(decay, (1.0 + updates) / (10.0 + updates))


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` that follows it by ``update_parameters``; its buffers (codebooks) are the live ones."""

    def move(average: Sequence[Tensor], live: Sequence[Tensor], n: Tensor | int) -> None:
        floating = [(a, b) for a, b in zip(average, live, strict=True) if a.is_floating_point()]
        if floating:
            a, b = (list(column) for column in zip(*floating, strict=True))
            torch._foreach_lerp_(a, b, 1.0 - warm_decay(decay, float(n)))

    copy = AveragedModel(model, multi_avg_fn=move)
    copy.requires_grad_(False)
    return copy.eval()
