"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.registry import register

CAP = 100.0  # dB; identical images have no finite PSNR


def psnr(reference: Tensor, sample: Tensor) -> Tensor:
    """``10 log10(255^2 / MSE)`` of each pair, MSE over all pixels and channels.

    uint8 (B, C, H, W) twice -> float64 (B,) in dB. Identical images, and any pair above it, count as 100 dB, so one
    perfect reconstruction cannot make a mean infinite.
    """
    check_pair("PSNR", reference, sample)
    # A row is summed in float32, where whole numbers up to 2^24 are exact (258 pixels of the largest error).
    squares = (reference.float() - sample.float()).square_()
    mse = squares.sum(3).double().sum(dim=(1, 2)) / squares[0].numel()
    return (10 * (255.0**2 / mse).log10()).clamp(max=CAP)


@register
class PSNR(PairMetric):
    """Mean over images of each image's own PSNR (the field's habit), not the PSNR of the mean error."""

    name = "psnr"

    def per_image(self, pairs: Pairs) -> Tensor:
        return psnr(pairs.reference, pairs.sample)
