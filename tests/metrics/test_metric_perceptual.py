"""LPIPS against the lpips package, MS-SSIM against pytorch-msssim, both against published values."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import lpips
import numpy as np
import pytest
import pytorch_msssim
import torch
from metric_fakes import GreyTokenizer, Pictures
from PIL import Image
from torch import Tensor

from tokbench import weights as weights_store
from tokbench.data.pixels import to_float
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.lpips import LPIPS
from tokbench.metrics.ms_ssim import ms_ssim, ms_ssim_luma


@functools.cache
def _theirs(net: str) -> tuple[lpips.LPIPS, dict[str, Tensor]]:
    """The lpips package's network with random trunk and its own heads (no download), and its tensors by our names."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision the old way
        theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    tensors = {f"lin{tap}.weight": head.model[-1].weight.detach() for tap, head in enumerate(theirs.lins)}
    for key, value in theirs.net.state_dict().items():
        _, index, part = key.split(".")
        tensors[f"features.{index}.{part}"] = value
    return theirs, tensors


def _pair(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, size, size, generator=generator) * 2 - 1
    return x, (x + 0.3 * torch.randn(2, 3, size, size, generator=generator)).clamp(-1, 1)


@pytest.mark.parametrize("net", ["alex", "vgg"])
@pytest.mark.parametrize("size", [32, 67])
def test_lpips_is_the_packages(net: str, size: int) -> None:
    theirs, tensors = _theirs(net)
    x, y = _pair(size)
    expected = theirs(x, y).flatten().detach()
    assert float(expected.min()) > 1e-5
    torch.testing.assert_close(LPIPS(net, tensors)(x, y), expected, rtol=1e-4, atol=1e-7)  # type: ignore[arg-type]


def test_gradients_of_lpips_are_the_packages_and_finite_on_black() -> None:
    theirs, tensors = _theirs("vgg")
    ours = LPIPS("vgg", tensors)
    x, y = _pair(32)
    gradients = []
    for module in (ours, theirs):
        z = y.clone().requires_grad_()
        module(x, z).sum().backward()
        assert z.grad is not None
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-7)
    # ReLUs that are all zero give zero vectors, whose length has no derivative.
    silent = {key: value - 10 if key.endswith("bias") else value for key, value in tensors.items()}
    z = y.clone().requires_grad_()
    LPIPS("vgg", silent)(x, z).sum().backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())


def test_lpips_inside_a_model_is_frozen_and_not_saved() -> None:
    model = torch.nn.ModuleDict({"loss": LPIPS("alex", _theirs("alex")[1]), "net": torch.nn.Linear(2, 2)})
    model.train()
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
    model.load_state_dict(model.state_dict())
    assert not list(model["loss"].parameters())
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        model["loss"](torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 31))
    with pytest.raises(TokbenchError, match="no net 'squeeze'"):
        LPIPS("squeeze")  # type: ignore[arg-type]


def test_without_weights_lpips_says_how_to_get_them() -> None:
    with pytest.raises(TokbenchError, match="tokbench weights get lpips-vgg"):
        LPIPS("vgg")
    note = evaluate_tokenizer(GreyTokenizer(), Pictures(3, size=32), metrics=["lpips"]).metrics["lpips"].note
    assert note == "no weights 'lpips-alex': run `tokbench weights get lpips-alex`"


@pytest.mark.parametrize("size", [161, 176])
def test_ms_ssim_is_pytorch_msssims(size: int) -> None:
    x, y = ((image + 1) * 127.5 for image in _pair(size))
    x, y = x.byte(), y.byte()
    y[1] = 255 - x[1]  # negative structure
    expected = pytorch_msssim.ms_ssim(x.float(), y.float(), data_range=255, size_average=False)
    assert ms_ssim(x, y).tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(TokbenchError, match="at least 161 pixels"):
        ms_ssim(x[..., :160], y[..., :160])


# pyiqa's calibration pairs: LPIPS (alex), MS-SSIM of the luma plane. Two of its MS-SSIM are left out (I03 .6733 and
# I19 .8462): pytorch-msssim gives .6700 and .8418 for them, as do we.
PUBLISHED = {
    "I03": (0.7237, None),
    "I04": (0.2572, 0.9996),
    "I06": (0.05079, 0.9998),
    "I08": (0.05205, 0.9566),
    "I19": (0.4253, None),
}


def _read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(shared: Path, users_cache: None, name: str) -> None:
    folder = shared / "data" / "lpips-psnr-ssim-reference" / "pyiqa_ResultsCalibra"
    if not folder.is_dir():
        pytest.skip("the reference pairs are not beside this checkout")
    x, y = (_read(folder / role / f"{name}.bmp") for role in ("ref_dir", "dist_dir"))
    distance, similarity = PUBLISHED[name]
    if similarity is not None:
        assert float(ms_ssim_luma(x, y)) == pytest.approx(similarity, abs=1.01e-4)
    if weights_store.find("lpips-alex") is None:
        pytest.skip("no weights lpips-alex: run `tokbench weights get lpips-alex`")
    assert float(LPIPS("alex")(to_float(x), to_float(y))) == pytest.approx(distance, rel=2e-4)
