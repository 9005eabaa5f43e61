"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, 2004): 11 x 11 Gaussian window, sigma 1.5, range 255."""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.registry import register

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GREY = 127.5
_IN_CACHE = 2 * 3 * 256 * 256  # values of an image
_STRIP = 2**21  # positions of an image; more go in strips


def ssim(reference: Tensor, sample: Tensor) -> Tensor:
    """SSIM of each pair, computed per channel and averaged over them.

    uint8 (B, C, H, W) twice, C 3 or 1, sides of at least 11 -> float64 (B,) in [-1, 1]. Equal to scikit-image's
    ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)``: windows
    that would reach over the border are left out.
    """
    return similarity(reference, sample)[0].mean(1)


def ssim_luma(reference: Tensor, sample: Tensor) -> Tensor:
    """SSIM of the luma plane (ITU-R BT.601: .299 R + .587 G + .114 B, rounded to integers); shapes as in ``ssim``."""
    return luma_similarity(reference, sample)[0].mean(1)


def similarity(reference: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """``mean_similarity`` of uint8 pairs: what SSIM and the first scale of MS-SSIM have in common."""
    check_pair("SSIM", reference, sample, min_size=WINDOW)
    return mean_similarity(reference.float(), sample.float())


def luma_similarity(reference: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    """The same of the luma planes."""
    check_pair("SSIM", reference, sample, min_size=WINDOW)
    return mean_similarity(luma(reference), luma(sample))


def luma(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 (B, 1, H, W) of whole numbers 0..255; grey (B, 1, H, W) is its own."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.double().unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).round().float()[:, None]


def mean_similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure part: float (B, C, H, W) in 0..255 twice -> float64 (B, C) twice."""
    # So many at a time stay in a CPU's cache; a GPU wants them all at once.
    together = max(1, _IN_CACHE // x[0].numel()) if x.device.type == "cpu" and len(x) else max(1, len(x))
    means = [_means(a, b) for a, b in zip(x.split(together), y.split(together), strict=True)]
    return torch.cat([m[0] for m in means]), torch.cat([m[1] for m in means])


def _means(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The means of ``_maps``; of a photograph of many megapixels in strips, whose maps would fill gigabytes."""
    rows, columns = (n - WINDOW + 1 for n in x.shape[-2:])
    strip = max(1, _STRIP // columns)
    if rows <= strip:
        similarity, contrast = _maps(x, y)
        return similarity.mean(dim=(2, 3), dtype=torch.float64), contrast.mean(dim=(2, 3), dtype=torch.float64)
    sums = [torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device) for _ in range(2)]
    for top in range(0, rows, strip):
        height = min(strip, rows - top) + WINDOW - 1
        for total, part in zip(sums, _maps(x.narrow(2, top, height), y.narrow(2, top, height)), strict=True):
            total += part.sum(dim=(2, 3), dtype=torch.float64)
    return sums[0] / (rows * columns), sums[1] / (rows * columns)


def _maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Local SSIM and its contrast-structure part, each (B, C, H - 10, W - 10)."""
    # Around mid-grey the second moments lose fewer digits to cancellation in float32; means are put back below.
    x, y = x - GREY, y - GREY
    moments = _blur(torch.cat([x, y, x * x + y * y, x * y], dim=1))
    mean_x, mean_y, squares, product = moments.chunk(4, dim=1)
    means = mean_x * mean_y
    contrast = (product - means).mul_(2).add_(C2)
    contrast /= (squares - mean_x * mean_x - mean_y * mean_y).add_(C2)
    mean_x, mean_y = mean_x + GREY, mean_y + GREY
    similarity = (mean_x * mean_y).mul_(2).add_(C1)
    similarity /= (mean_x * mean_x + mean_y * mean_y).add_(C1)
    return similarity.mul_(contrast), contrast


def _blur(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H - 10, W - 10), the Gaussian window along both axes."""
    at = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    window = torch.exp(-(at * at) / (2 * SIGMA**2))
    weights = (window / window.sum()).tolist()
    # Eleven shifted sums an axis: on a CPU a tenth of the time of a convolution, to the same last digit.
    for axis in (-1, -2):
        length = x.shape[axis] - WINDOW + 1
        total = x.narrow(axis, 0, length) * weights[0]
        for shift in range(1, WINDOW):
            total.add_(x.narrow(axis, shift, length), alpha=weights[shift])
        x = total
    return x


@register
class SSIM(PairMetric):
    """SSIM on RGB, mean of the three channels, range 0..255; of grey images on their one."""

    name = "ssim"
    min_size = WINDOW

    def per_image(self, pairs: Pairs) -> Tensor:
        return pairs.once(similarity)[0].mean(1)


@register
class SSIMLuma(PairMetric):
    """SSIM on the luma plane alone: another number than ``ssim``, so another name."""

    name = "ssim_luma"
    default = False
    min_size = WINDOW

    def per_image(self, pairs: Pairs) -> Tensor:
        return pairs.once(luma_similarity)[0].mean(1)
