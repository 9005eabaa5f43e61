"""Multi-scale structural similarity (Wang, Simoncelli, Bovik, 2003)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.metrics.base import PairMetric, check_pair
from tokbench.metrics.registry import register
from tokbench.metrics.ssim import WINDOW, luma, mean_similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_SIZE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # 161: the window must fit the smallest of the five scales


def ms_ssim(reference: Tensor, sample: Tensor) -> Tensor:
    """Five-scale SSIM of each pair on RGB: per channel, averaged over the three.

    uint8 (B, 3, H, W) twice, sides of at least 161 -> float64 (B,) in [0, 1]. Range 0..255, 11 x 11 Gaussian window
    of sigma 1.5, 2 x 2 mean pooling between scales, negative factors set to zero: equal to pytorch-msssim's
    ``ms_ssim(data_range=255)``.
    """
    check_pair("MS-SSIM", reference, sample, min_size=MIN_SIZE)
    return _multi_scale(reference.float(), sample.float())


def ms_ssim_luma(reference: Tensor, sample: Tensor) -> Tensor:
    """MS-SSIM of the luma plane (``ssim_luma``'s); shapes as in ``ms_ssim``."""
    check_pair("MS-SSIM", reference, sample, min_size=MIN_SIZE)
    return _multi_scale(luma(reference), luma(sample))


def _multi_scale(x: Tensor, y: Tensor) -> Tensor:
    product = torch.ones(x.shape[:2], dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = mean_similarity(x, y)
        last = scale == len(WEIGHTS) - 1
        factor = (similarity if last else contrast).clamp(min=0)
        product = product * factor**weight
        if not last:
            padding = [side % 2 for side in x.shape[2:]]
            x, y = F.avg_pool2d(x, 2, padding=padding), F.avg_pool2d(y, 2, padding=padding)
    return product.mean(1)


@register
class MSSSIM(PairMetric):
    """MS-SSIM on RGB, mean of the three channels, range 0..255."""

    name, label, direction = "ms_ssim", "MS-SSIM", "higher"
    min_size = MIN_SIZE

    def per_image(self, reference: Tensor, sample: Tensor) -> Tensor:
        return ms_ssim(reference, sample)


@register
class MSSSIMLuma(PairMetric):
    """MS-SSIM on the luma plane alone."""

    name, label, direction = "ms_ssim_luma", "MS-SSIM (luma)", "higher"
    default = False
    min_size = MIN_SIZE

    def per_image(self, reference: Tensor, sample: Tensor) -> Tensor:
        return ms_ssim_luma(reference, sample)
