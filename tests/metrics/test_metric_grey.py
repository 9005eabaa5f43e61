"""Metrics of grey images: of their one channel, for networks as RGB of three equal ones; never beside colour."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from metric_fakes import FakeSpace, GreyTokenizer, Pictures
from test_metric_perceptual import _theirs
from torch import Tensor

from tokbench.data.pixels import to_grey
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.generated import evaluate_images
from tokbench.metrics.inception import NAME
from tokbench.metrics.l1 import l1
from tokbench.metrics.lpips import LPIPS
from tokbench.metrics.ms_ssim import ms_ssim, ms_ssim_luma
from tokbench.metrics.protocol import check_protocol
from tokbench.metrics.psnr import psnr
from tokbench.metrics.ssim import ssim, ssim_luma


def grey(pictures: Pictures) -> Pictures:
    """The same images, as grey ones."""
    pictures.view = dataclasses.replace(pictures.view, channels=1)
    return pictures


class OneChannel(GreyTokenizer):
    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes)[:, :1]


class Repeated(Pictures):
    """Grey images as RGB of three equal channels."""

    def sample(self, index: int, epoch: int = 0):  # type: ignore[no-untyped-def]
        found = super().sample(index, epoch)
        return {**found, "image": to_grey(found["image"]).expand(3, -1, -1)}


@pytest.mark.parametrize("function", [psnr, l1, ssim, ssim_luma, ms_ssim, ms_ssim_luma])
def test_one_channel_has_the_value_of_three_equal_ones(function: object) -> None:
    assert callable(function)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, 1, 164, 164), generator=generator, dtype=torch.uint8)
    y = (x.int() + torch.randint(-20, 20, x.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    three = function(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1))
    torch.testing.assert_close(function(x, y), three, rtol=1e-6, atol=1e-9)
    with pytest.raises(TokbenchError, match="differ in shape"):
        function(x, y.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_looks_at_three_equal_channels_with_the_sum_of_their_gradients(net: str) -> None:
    module = LPIPS(net, _theirs(net)[1])  # type: ignore[arg-type]
    x, y = torch.rand(2, 2, 1, 32, 32) * 2 - 1
    one, three = y.clone().requires_grad_(), y.expand(-1, 3, -1, -1).clone().requires_grad_()
    values = module(x, one), module(x.expand(-1, 3, -1, -1), three)
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-8)
    for value in values:
        value.sum().backward()
    assert one.grad is not None and three.grad is not None
    torch.testing.assert_close(one.grad, three.grad.sum(1, keepdim=True), rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match=r"\(2, 2, 32, 32\)"):
        module(*[torch.zeros(2, 2, 32, 32)] * 2)


def test_a_grey_evaluation_has_the_values_of_the_repeated_images_under_another_name(space: FakeSpace) -> None:
    names = ["psnr", "ssim", "l1", "usage", "rfid"]
    one = evaluate_tokenizer(OneChannel(), grey(Pictures(40)), metrics=names, batch_size=16)
    three = evaluate_tokenizer(GreyTokenizer(), Repeated(40), metrics=names, batch_size=16)
    for name in names:
        assert one.metrics[name].value == pytest.approx(three.metrics[name].value, rel=1e-5), name
        assert one.metrics[name].version == f"none-grey/{name}-{three.metrics[name].version[-1]}"
    assert one.metrics["rfid"].value is not None
    assert one.data.protocol == "none-grey" and one.rate == three.rate


def test_protocols_of_grey_images_are_their_own() -> None:
    pictures = grey(Pictures(3))
    assert check_protocol(None, pictures) == check_protocol("none", pictures) == "none-grey"
    with pytest.raises(TokbenchError, match="'taming' crops by 'taming', and this data set was opened as 'none-grey'"):
        check_protocol("taming", pictures)
    with pytest.raises(TokbenchError, match="unknown protocol"):
        check_protocol("none-gray", pictures)
    assert check_protocol(None, Pictures(3)) == "none"


def test_generated_grey_images_are_compared_with_grey_ones_only(space: FakeSpace) -> None:
    assert space.name == NAME
    made = grey(Pictures(40, seed=1))
    found = evaluate_images(made, reference=grey(Pictures(40)), metrics=["gfid"])
    repeated = evaluate_images(Repeated(40, seed=1), reference=Repeated(40), metrics=["gfid"])
    assert found.metrics["gfid"].value == pytest.approx(repeated.metrics["gfid"].value, rel=1e-6)
    assert found.metrics["gfid"].version.startswith("none-grey/")
    with pytest.raises(TokbenchError, match="the images have 1 channels and the reference 3.*channels=1"):
        evaluate_images(made, reference=Pictures(40), metrics=["gfid"])
