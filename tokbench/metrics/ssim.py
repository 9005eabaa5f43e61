"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, 2004): 11 x 11 Gaussian window, sigma 1.5, range 255."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.metrics.base import PairMetric, check_pair
from tokbench.metrics.registry import register

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(reference: Tensor, sample: Tensor) -> Tensor:
    """SSIM of each pair, computed per RGB channel and averaged over the three.

    uint8 (B, 3, H, W) twice, sides of at least 11 -> float64 (B,) in [-1, 1]. Equal to scikit-image's
    ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)``: windows
    that would reach over the border are left out.
    """
    check_pair("SSIM", reference, sample, min_size=WINDOW)
    return similarity_maps(reference.float(), sample.float())[0].double().mean(dim=(1, 2, 3))


def ssim_luma(reference: Tensor, sample: Tensor) -> Tensor:
    """SSIM of the luma plane (ITU-R BT.601: .299 R + .587 G + .114 B, rounded to integers); shapes as in ``ssim``."""
    check_pair("SSIM", reference, sample, min_size=WINDOW)
    return similarity_maps(luma(reference), luma(sample))[0].double().mean(dim=(1, 2, 3))


def luma(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 (B, 1, H, W) of whole numbers 0..255."""
    red, green, blue = images.double().unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).round().float()[:, None]


def similarity_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Local SSIM and its contrast-structure part, each (B, C, H - 10, W - 10), of float images in 0..255."""
    # Around mid-grey the second moments lose fewer digits to cancellation in float32; means are put back below.
    shift = 127.5
    x, y = x - shift, y - shift
    channels = x.shape[1]
    moments = _blur(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mean_x, mean_y, xx, yy, xy = moments.split(channels, dim=1)
    var_x, var_y, cov = xx - mean_x * mean_x, yy - mean_y * mean_y, xy - mean_x * mean_y
    mean_x, mean_y = mean_x + shift, mean_y + shift
    contrast = (2 * cov + C2) / (var_x + var_y + C2)
    return (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1) * contrast, contrast


def _blur(x: Tensor) -> Tensor:
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    window = torch.exp(-(at * at) / (2 * SIGMA**2))
    window = window / window.sum()
    planes = x.flatten(0, 1)[:, None]  # every channel is its own image: much faster than a grouped convolution
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))
    return planes.view(*x.shape[:2], *planes.shape[-2:])


@register
class SSIM(PairMetric):
    """SSIM on RGB, mean of the three channels, range 0..255."""

    name, label, direction = "ssim", "SSIM", "higher"
    min_size = WINDOW

    def per_image(self, reference: Tensor, sample: Tensor) -> Tensor:
        return ssim(reference, sample)


@register
class SSIMLuma(PairMetric):
    """SSIM on the luma plane alone: another number than ``ssim``, so another name."""

    name, label, direction = "ssim_luma", "SSIM (luma)", "higher"
    default = False
    min_size = WINDOW

    def per_image(self, reference: Tensor, sample: Tensor) -> Tensor:
        return ssim_luma(reference, sample)
