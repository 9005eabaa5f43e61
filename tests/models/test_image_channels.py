"""Models of one, three and other numbers of image channels: shapes, gradients, files, and images of another number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_tokenizers import SMALL, make

from tokbench.config.loss import PatchGANConfig, StyleGANConfig
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.discriminator import build_discriminator


# Three are what all other tests have, and five are to a network what one is.
@pytest.mark.parametrize("channels", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))])
def test_as_many_channels_come_out_as_go_in(architecture: str, channels: int, tmp_path: Path) -> None:
    tokenizer = make(architecture, image_channels=channels)
    images = torch.rand(2, channels, 16, 16) * 2 - 1
    out = tokenizer(images)
    assert out.reconstruction.shape == images.shape
    (out.reconstruction - images).square().mean().backward()
    assert tokenizer.last_layer.grad is not None and bool(tokenizer.last_layer.grad.any())
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.config == tokenizer.config and again.config.channels == channels
    assert torch.equal(again.reconstruct(images), tokenizer.eval().reconstruct(images))


def test_three_channels_are_not_written_and_their_absence_means_three(tmp_path: Path) -> None:
    for channels in (3, 1):
        make("vqgan", image_channels=channels).save_pretrained(tmp_path / str(channels))
        written = json.loads((tmp_path / str(channels) / "config.json").read_text())
        assert written.get("channels") == (None if channels == 3 else 1)
        card = (tmp_path / str(channels) / "README.md").read_text()
        assert f"float (B, {channels}, H, W)" in card and ("16x16, grey" in card) == (channels == 1)
    model = {"architecture": "vqgan", **SMALL["vqgan"]}
    whole = {"image_size": 16, "model": model, "quantizer": {"name": "vq", "codebook_size": 8}}
    assert TokenizerConfig.model_validate(whole).channels == 3


@pytest.mark.parametrize(("channels", "given"), [(1, 3), (3, 1), (3, 4), (4, 3)])
def test_images_of_another_number_are_refused_by_name(channels: int, given: int) -> None:
    tokenizer = make("vqgan", image_channels=channels)
    with pytest.raises(ValueError, match=rf"\(B, {channels}, H, W\), got .*\(2, {given}, 16, 16\)") as caught:
        tokenizer.encode(torch.zeros(2, given, 16, 16))
    assert "\n" not in str(caught.value) and ("to_grey" in str(caught.value)) == (channels == 1)


def test_weights_of_another_number_are_refused(tmp_path: Path) -> None:
    make("vqgan", image_channels=1).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["channels"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TokbenchError, match=r"encoder.stem.weight is \[8, 1, 3, 3\], not \[8, 3, 3, 3\]"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "channels": 0}))
    with pytest.raises(TokbenchError, match="channels: Input should be greater than 0"):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_discriminators_take_them_too(channels: int) -> None:
    images = torch.rand(2, channels, 16, 16)
    for config in (PatchGANConfig(channels=8, layers=2), StyleGANConfig(channels=8)):
        logits = build_discriminator(config, 16, channels)(images)
        assert logits.shape[:2] == (2, 1) and bool(logits.isfinite().all())


def test_a_large_grey_image_goes_in_tiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import tokbench.models.tiling as tiling
    import tokbench.models.tokenizer as module

    tokenizer = make("vqgan", image_channels=1, attention_resolutions=[], middle_attention=False).eval()
    images = torch.rand(1, 1, 96, 96) * 2 - 1
    whole = tokenizer.reconstruct(images)
    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(tiling, "plan", lambda *given: 64)
    codes = tokenizer.encode(images)
    assert tokenizer.decode(codes).shape == whole.shape == images.shape
