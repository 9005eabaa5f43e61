"""Mean absolute error."""

from __future__ import annotations

from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.registry import register


def l1(reference: Tensor, sample: Tensor) -> Tensor:
    """``mean |x - y| / 255`` of each pair: uint8 (B, C, H, W) twice -> float64 (B,) in [0, 1]."""
    check_pair("L1", reference, sample)
    differences = (reference.float() - sample.float()).abs_()
    return differences.sum(3).double().sum(dim=(1, 2)) / differences[0].numel() / 255


@register
class L1(PairMetric):
    """Mean absolute error on a scale where black to white is 1."""

    name = "l1"

    def per_image(self, pairs: Pairs) -> Tensor:
        return l1(pairs.reference, pairs.sample)
