"""Pixel metrics: parity with scikit-image, invariants, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics import get
from tokbench.metrics import ssim as ssim_file
from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.l1 import l1
from tokbench.metrics.ms_ssim import ms_ssim
from tokbench.metrics.psnr import CAP, psnr
from tokbench.metrics.ssim import ssim, ssim_luma


def _pairs(size: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 6, 6, generator=generator) * 255
    x = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)
    noise = torch.randn(4, 3, size, size, generator=generator) * torch.tensor([0.3, 4, 20, 80]).view(-1, 1, 1, 1)
    return x.byte(), (x + noise).clamp(0, 255).byte()


def _hwc(images: Tensor, index: int) -> np.ndarray:
    return images[index].permute(1, 2, 0).numpy()


def test_psnr_is_scikit_images() -> None:
    from skimage.metrics import peak_signal_noise_ratio

    x, y = _pairs()
    expected = [peak_signal_noise_ratio(_hwc(x, i), _hwc(y, i), data_range=255) for i in range(len(x))]
    assert psnr(x, y).tolist() == pytest.approx(expected, rel=1e-9)


def test_ssim_is_scikit_images() -> None:
    from skimage.metrics import structural_similarity

    x, y = _pairs()
    expected = [
        structural_similarity(
            _hwc(x, i),
            _hwc(y, i),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=2,
        )
        for i in range(len(x))
    ]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_ssim_is_scikit_images_on_flat_images(level: int) -> None:
    """Nearly flat images are where float32 second moments cancel."""
    from skimage.metrics import structural_similarity

    x = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
    y = x.clone()
    y[..., ::7] = min(level + 1, 255) if level < 255 else 254
    expected = structural_similarity(
        _hwc(x, 0),
        _hwc(y, 0),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    assert float(ssim(x, y)) == pytest.approx(expected, abs=1e-4)


def test_l1_is_the_mean_difference() -> None:
    x = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    y = x.clone()
    y[0, 0, 0, 0] = 255
    assert float(l1(x, y)) == pytest.approx(1 / 12)
    assert float(l1(y, x)) == pytest.approx(1 / 12)  # no wrap-around of uint8


def test_identical_images_have_the_best_value_and_no_infinity() -> None:
    x, _ = _pairs()
    assert psnr(x, x).tolist() == [CAP] * 4
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 4)
    assert l1(x, x).tolist() == [0.0] * 4


@pytest.mark.parametrize("function", [psnr, ssim, ssim_luma, l1])
def test_what_is_no_pair_of_images_is_refused(function: object) -> None:
    assert callable(function)
    x, y = _pairs()
    with pytest.raises(TokbenchError, match="uint8.*float32 in"):
        function(x.float() / 255, y.float() / 255)
    with pytest.raises(TokbenchError, match=r"\(4, 3, 48, 48\) and sample \(4, 3, 48, 40\)"):
        function(x, y[..., :40])
    with pytest.raises(TokbenchError, match=r"\(B, 3, H, W\) or grey \(B, 1, H, W\), got \(4, 2, 48, 48\)"):
        function(x[:, :2], y[:, :2])


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    x, y = _pairs()
    with pytest.raises(TokbenchError, match="at least 11 pixels"):
        ssim(x[..., :10], y[..., :10])


PUBLISHED = {  # pyiqa's calibration pairs: PSNR (RGB), SSIM (luma), MS-SSIM (luma)
    "I03": (21.11, 0.6993, 0.6733),
    "I04": (20.99, 0.9978, 0.9996),
    "I06": (27.01, 0.9989, 0.9998),
    "I08": (23.3, 0.9669, 0.9566),
    "I19": (21.62, 0.6519, 0.8462),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_of_real_pairs(shared: object, name: str) -> None:
    folder = shared / "data" / "lpips-psnr-ssim-reference" / "pyiqa_ResultsCalibra"  # type: ignore[operator]
    if not folder.is_dir():
        pytest.skip("the reference pairs are not beside this checkout")
    pair = [
        torch.from_numpy(np.array(Image.open(folder / role / f"{name}.bmp").convert("RGB"))).permute(2, 0, 1)[None]
        for role in ("ref_dir", "dist_dir")
    ]
    decibels, luma, _ = PUBLISHED[name]
    assert float(psnr(*pair)) == pytest.approx(decibels, abs=0.0051)
    assert float(ssim_luma(*pair)) == pytest.approx(luma, abs=1e-4)


def test_psnr_cap_is_above_what_one_changed_pixel_gives_at_32() -> None:
    x = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    y = x.clone()
    y[0, 0, 0, 0] = 1
    assert math.isclose(float(psnr(x, y)), 10 * math.log10(255**2 * 3072), rel_tol=1e-9)
    assert float(psnr(x, y)) < CAP


def test_ssim_and_ms_ssim_share_their_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _pairs(176)
    expected = ssim(x, y), ms_ssim(x, y)
    seen = []
    original = ssim_file.mean_similarity
    monkeypatch.setattr(ssim_file, "mean_similarity", lambda a, b: seen.append(a.shape) or original(a, b))
    pairs = Pairs(x, y)
    metrics = [get("ssim"), get("ms_ssim")]
    found = [metric.per_image(pairs) for metric in metrics if isinstance(metric, PairMetric)]
    assert len(seen) == 1
    for value, function in zip(found, expected, strict=True):
        assert torch.equal(value, function)
