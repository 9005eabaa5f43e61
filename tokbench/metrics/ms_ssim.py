"""Multi-scale structural similarity (Wang, Simoncelli, Bovik, 2003)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.registry import register
from tokbench.metrics.ssim import WINDOW, luma, luma_similarity, mean_similarity, similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_SIZE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # 161: the window must fit the smallest of the five scales


def ms_ssim(reference: Tensor, sample: Tensor) -> Tensor:
    """Five-scale SSIM of each pair on RGB: per channel, averaged over them.

    uint8 (B, C, H, W) twice, sides of at least 161 -> float64 (B,) in [0, 1]. Range 0..255, 11 x 11 Gaussian window
    of sigma 1.5, 2 x 2 mean pooling between scales, negative factors set to zero: equal to pytorch-msssim's
    ``ms_ssim(data_range=255)``.
    """
    check_pair("MS-SSIM", reference, sample, min_size=MIN_SIZE)
    return _multi_scale(reference.float(), sample.float(), similarity(reference, sample))


def ms_ssim_luma(reference: Tensor, sample: Tensor) -> Tensor:
    """MS-SSIM of the luma plane (``ssim_luma``'s); shapes as in ``ms_ssim``."""
    check_pair("MS-SSIM", reference, sample, min_size=MIN_SIZE)
    return _multi_scale(luma(reference), luma(sample), luma_similarity(reference, sample))


def _multi_scale(x: Tensor, y: Tensor, first: tuple[Tensor, Tensor]) -> Tensor:
    """``first``: similarity and contrast at full scale, which SSIM needs too."""
    product = torch.ones(x.shape[:2], dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        structure, contrast = mean_similarity(x, y) if scale else first
        last = scale == len(WEIGHTS) - 1
        factor = (structure if last else contrast).clamp(min=0)
        product = product * factor**weight
        if not last:
            padding = [side % 2 for side in x.shape[2:]]
            x, y = F.avg_pool2d(x, 2, padding=padding), F.avg_pool2d(y, 2, padding=padding)
    return product.mean(1)


@register
class MSSSIM(PairMetric):
    """MS-SSIM on RGB, mean of the three channels, range 0..255."""

    name = "ms_ssim"
    min_size = MIN_SIZE

    def per_image(self, pairs: Pairs) -> Tensor:
        check_pair(self.label, pairs.reference, pairs.sample, min_size=MIN_SIZE)
        return _multi_scale(pairs.reference.float(), pairs.sample.float(), pairs.once(similarity))


@register
class MSSSIMLuma(PairMetric):
    """MS-SSIM on the luma plane alone."""

    name = "ms_ssim_luma"
    default = False
    min_size = MIN_SIZE

    def per_image(self, pairs: Pairs) -> Tensor:
        check_pair(self.label, pairs.reference, pairs.sample, min_size=MIN_SIZE)
        return _multi_scale(luma(pairs.reference), luma(pairs.sample), pairs.once(luma_similarity))
