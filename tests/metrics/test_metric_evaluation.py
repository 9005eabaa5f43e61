"""One pass over the images: values, depths, codes, refusals, and the same result whatever the batch size."""

from __future__ import annotations

import math

import pytest
import torch
from metric_fakes import GreyTokenizer, Pictures
from tiny_tokenizer import make_tokenizer

from tokbench.data.pixels import to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer, get, names
from tokbench.metrics.psnr import psnr
from tokbench.metrics.ssim import ssim

CHEAP = ["psnr", "ssim", "l1", "usage", "perplexity", "entropy", "entropy_bpp"]


def test_every_metric_says_what_it_is() -> None:
    assert set(CHEAP) <= set(names())
    for name in names():
        metric = get(name)
        assert metric.name == name and metric.label and metric.direction in ("higher", "lower", "none")
        assert metric.version >= 1 and type(metric).__doc__


def test_an_unknown_metric_is_named_with_what_was_meant() -> None:
    with pytest.raises(TokbenchError, match="unknown metric 'psnrr'.*'psnr'"):
        get("psnrr")


def test_values_are_those_of_the_images(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    result = evaluate_tokenizer(tokenizer, pictures, metrics=CHEAP, batch_size=5)
    images = pictures.batch()
    codes = tokenizer.encode(to_float(images))
    by_depth = [to_uint8(tokenizer.decode(codes[..., :d])) for d in (1, 2)]
    each = psnr(images, by_depth[1])
    assert result.metrics["psnr"].value == pytest.approx(float(each.mean()), rel=1e-12)
    assert result.metrics["psnr"].stderr == pytest.approx(float(each.std() / math.sqrt(len(each))), rel=1e-9)
    assert result.metrics["psnr"].by_depth == pytest.approx([float(psnr(images, y).mean()) for y in by_depth])
    assert result.metrics["ssim"].by_depth == pytest.approx([float(ssim(images, y).mean()) for y in by_depth])
    assert result.metrics["psnr"].version == "none/psnr-1"  # these images are not cropped at all
    assert result.metrics["psnr"].n == result.data.n == 13
    assert result.rate.bits_per_image == 7 * 16

    counts = [torch.bincount(codes[..., d].flatten(), minlength=k) for d, k in enumerate((8, 16))]
    assert [h.tolist() for h in result.histogram] == [c.tolist() for c in counts]
    p = counts[0] / counts[0].sum()
    entropy = float(-(p[p > 0] * p[p > 0].log2()).sum())
    assert result.metrics["entropy"].by_depth is not None
    assert result.metrics["entropy"].by_depth[0] == pytest.approx(entropy, rel=1e-6)
    assert result.metrics["perplexity"].by_depth[0] == pytest.approx(2**entropy, rel=1e-6)  # type: ignore[index]
    assert result.metrics["usage"].by_depth == [float((c > 0).float().mean()) for c in counts]
    rates = result.metrics["entropy_bpp"].by_depth
    assert rates is not None and rates[0] == pytest.approx(entropy / 16, rel=1e-6)
    assert rates[0] < rates[1] == result.metrics["entropy_bpp"].value <= result.rate.bits_per_pixel


def test_batch_size_changes_nothing(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    one = evaluate_tokenizer(tokenizer, pictures, metrics=CHEAP, batch_size=1)
    all_ = evaluate_tokenizer(tokenizer, pictures, metrics=CHEAP, batch_size=64)
    for name in CHEAP:
        assert one.metrics[name].value == pytest.approx(all_.metrics[name].value, rel=1e-6), name


def test_without_by_depth_there_is_one_number(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    result = evaluate_tokenizer(tokenizer, pictures, metrics=["psnr", "usage"], by_depth=False)
    assert result.metrics["psnr"].by_depth is None
    assert len(result.metrics["usage"].by_depth or []) == 2  # codes have depths whatever is decoded


@pytest.mark.parametrize("name", ["gfq", "grouped"])
def test_codes_of_groups_have_no_prefixes_to_measure(pictures: Pictures, name: str) -> None:
    inner = {"quantizer": "vq"} if name == "grouped" else {}
    tokenizer = make_tokenizer({"name": name, "codebook_size": 8, "groups": 2, **inner})
    found = evaluate_tokenizer(tokenizer, pictures, metrics=["psnr", "usage"]).metrics
    assert found["psnr"].value is not None and found["psnr"].by_depth is None
    assert len(found["usage"].by_depth or ()) == 2


def test_unreadable_pictures_are_left_out_and_counted(tokenizer: GreyTokenizer) -> None:
    whole, broken = Pictures(13), Pictures(13, broken=(0, 7))
    result = evaluate_tokenizer(tokenizer, broken, metrics=["psnr"], batch_size=4)
    images = broken.batch()
    expected = psnr(images, to_uint8(tokenizer.decode(tokenizer.encode(to_float(images))))).mean()
    assert result.metrics["psnr"].value == pytest.approx(float(expected), rel=1e-12)
    assert (result.data.n, result.data.skipped) == (11, 2) and len(whole) == 13


def test_reconstructions_with_nan_are_counted_and_refused(pictures: Pictures) -> None:
    class Broken(GreyTokenizer):
        def decode(self, codes: torch.Tensor) -> torch.Tensor:
            images = super().decode(codes).clone()
            images[0, 0, 3, 3] = math.nan
            return images

    result = evaluate_tokenizer(Broken(), pictures, metrics=["psnr", "ssim", "usage"], batch_size=5)
    for name in ("psnr", "ssim"):
        assert result.metrics[name].value is None
        assert result.metrics[name].note == "3 of 13 reconstructions have NaN or infinite pixels"
    assert result.metrics["usage"].value is not None
    assert any("3 of 13" in line for line in result.warnings)


def test_codes_outside_the_codebook_are_an_error(pictures: Pictures) -> None:
    class Wrong(GreyTokenizer):
        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return super().encode(images) + 16

    with pytest.raises(ValueError, match="depth 1 is outside its codebook of 8"):
        evaluate_tokenizer(Wrong(), pictures, metrics=["usage"])


def test_reconstructions_of_another_size_are_an_error(pictures: Pictures) -> None:
    class Small(GreyTokenizer):
        def decode(self, codes: torch.Tensor) -> torch.Tensor:
            return super().decode(codes)[..., :-4]

    with pytest.raises(TokbenchError, match=r"\(13, 3, 16, 12\) where the images are \(13, 3, 16, 16\)"):
        evaluate_tokenizer(Small(), pictures, metrics=["psnr"])


def test_metrics_without_their_weights_say_how_to_get_them(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    result = evaluate_tokenizer(tokenizer, pictures, metrics=["psnr", "rfid"])
    assert result.metrics["psnr"].value is not None
    assert result.metrics["rfid"].value is None
    assert "tokbench weights get inception-fid" in (result.metrics["rfid"].note or "")


def test_by_default_everything_possible_is_measured(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    result = evaluate_tokenizer(tokenizer, pictures)
    assert set(CHEAP) <= set(result.metrics)
    assert all(value.value is not None for value in result.metrics.values())


def test_few_codes_for_a_large_codebook_are_pointed_out(tokenizer: GreyTokenizer) -> None:
    tokenizer.quantizer.codebook_sizes = (8, 4096)
    tokenizer.rate = lambda size: {  # type: ignore[method-assign]
        "tokens": [4, 4, 2],
        "codebook_sizes": [8, 4096],
        "bits_per_position": 15.0,
        "bits_per_image": 240.0,
        "bits_per_pixel": 15 / 16,
    }
    result = evaluate_tokenizer(tokenizer, Pictures(2), metrics=["usage"])
    assert result.metrics["usage"].note == "only 32 positions for a codebook of 4096"


def test_a_protocol_that_was_not_followed_is_refused(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    with pytest.raises(TokbenchError, match="'tokbench-v1' crops by 'adm'.*opened as 'none'"):
        evaluate_tokenizer(tokenizer, pictures, protocol="tokbench-v1")


def test_training_mode_is_restored(pictures: Pictures, tokenizer: GreyTokenizer) -> None:
    tokenizer.train()
    evaluate_tokenizer(tokenizer, pictures, metrics=["psnr"])
    assert tokenizer.training
