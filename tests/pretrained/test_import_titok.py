"""TiTok, One-D-Piece and MaskGIT-VQ against the official implementations' weights, inputs and outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import refusal
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokbench import pretrained


def outputs(folder: Path, name: str) -> dict[str, Tensor]:
    with np.load(folder / f"{name}_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def near(found: Tensor, wanted: Tensor, most: float = 1e-4) -> bool:
    return found.shape == wanted.shape and float((found.detach() - wanted).abs().max()) < most


@pytest.mark.parametrize(
    ("source", "name", "picture"),
    [
        ("titok", "titok_pixel", "reconstruction"),
        (None, "titok_pixel_l2", "reconstruction"),
        ("titok", "titok_stage2", "reconstruction"),
        ("one-d-piece", "one_d_piece", "reconstruction.length12"),
    ],
)
def test_titoks_official_outputs(source: str | None, name: str, picture: str, golden_successors: Path) -> None:
    made, report = pretrained.read(source, golden_successors / name)
    wanted = outputs(golden_successors, name)
    images = wanted["x"] * 2 - 1
    codes = made.encode(images)
    assert not report.left_over and not made.training
    assert torch.equal(codes[..., 0], wanted["indices"][:, 0])
    assert near(made.latents(images), wanted["z"][:, :, 0])
    assert near((made.decode(codes) + 1) / 2, wanted[picture], 3e-4)
    if "quantizer_loss" in wanted and "pixel" in name:
        made.quantizer.train()
        assert near(made.quantizer(wanted["z"][:, :, 0]).loss, wanted["quantizer_loss"])


def test_any_first_tokens_of_one_d_piece_decode(golden_successors: Path) -> None:
    made = pretrained.load("one-d-piece", golden_successors / "one_d_piece")
    wanted = outputs(golden_successors, "one_d_piece")
    codes = wanted["indices"][:, 0, :, None]
    for n in range(1, 13):
        assert near((made.decode(codes[:, :n]) + 1) / 2, wanted[f"reconstruction.length{n}"], 3e-4)
    assert [prefix.positions for prefix in made.prefixes()] == [8, 12]
    strict = pretrained.load("titok", golden_successors / "titok_stage2")
    with pytest.raises(ValueError, match=r"codes of 3 positions.*12, since it was trained without model\.tail_drop"):
        strict.decode(codes[:, :3])
    with pytest.raises(ValueError, match="codes of 13 positions: the tokenizer decodes 1 to 12"):
        made.decode(torch.cat([codes, codes[:, :1]], dim=1))


def test_a_first_stage_says_codes_of_maskgit_vq(golden_successors: Path, tmp_path: Path) -> None:
    """Its file lies beside the weights, or there are no images; the codes are whose the logits say."""
    wanted = outputs(golden_successors, "titok_stage1")
    images = wanted["x"] * 2 - 1
    alone, report = pretrained.read("titok", golden_successors / "titok_stage1")
    codes = alone.encode(images)
    assert torch.equal(codes[..., 0], wanted["indices"][:, 0]) and "gives images only when" in " ".join(report.notes)
    decoder: Any = alone.decoder
    assert near(decoder.head.logits(decoder.patches(alone.quantizer.decode(codes))), wanted["logits"])
    with pytest.raises(ValueError, match="gives codes of MaskGIT-VQ, not images"):
        alone.decode(codes)

    folder = shutil.copytree(golden_successors / "titok_stage1", tmp_path / "stage1")
    shutil.copy(golden_successors / "maskgit_vq.bin", folder / "maskgit-vqgan-imagenet-f16-256.bin")
    whole = pretrained.load("titok", folder)
    targets = pretrained.load("maskgit-vq", golden_successors / "maskgit_vq.bin")
    said = wanted["logits"].argmax(1)[..., None]
    with torch.no_grad():
        assert near(whole.decode(codes), targets.decode(said))


@pytest.mark.parametrize("source", ["maskgit-vq", None])
def test_maskgit_vqs_official_outputs(source: str | None, golden_successors: Path) -> None:
    made, report = pretrained.read(source, golden_successors / "maskgit_vq.bin")
    wanted = outputs(golden_successors, "maskgit_vq")
    codes = made.encode(wanted["x"] * 2 - 1)
    assert report.source == "maskgit-vq" and not report.left_over
    assert torch.equal(codes.flatten(1), wanted["indices"])
    assert near(((made.decode(codes) + 1) / 2).clamp(0, 1), wanted["reconstruction_clamped_0_1"])


@pytest.fixture
def pixel(golden_successors: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    return Path(shutil.copytree(golden_successors / "titok_pixel", tmp_path / "pixel"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_latent_tokens": 32}, "num_latent_tokens is 32 in the configuration but 12 in the weights"),
        ({"is_legacy": True}, "is_legacy is True in the configuration but False in the weights"),
        ({"vit_enc_patch_size": 16}, "vit_enc_patch_size is 16"),
        ({"quantize_mode": "vae"}, "quantize_mode: 'vae' is not supported"),
        ({"vit_enc_model_size": "large"}, "vit_enc_model_size is [1024, 24]"),
        ({"codebook_size": 4096}, "codebook_size is 4096"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(change: dict[str, Any], said: str, pixel: Path) -> None:
    config = json.loads((pixel / "config.json").read_text())
    config["model"]["vq_model"] |= change
    (pixel / "config.json").write_text(json.dumps(config))
    assert said in refusal(pixel, "titok")


def test_what_the_weights_do_not_show_is_asked_for(pixel: Path) -> None:
    (pixel / "tiny.json").unlink()
    assert "vit_enc_model_size is 'tinyA'" in refusal(pixel, "titok")
    (pixel / "config.json").unlink()
    assert "the weights do not show" in refusal(pixel, "titok")


def test_weights_that_are_missing_are_named(pixel: Path) -> None:
    weights = load_file(pixel / "model.safetensors")
    for name in ("encoder.positional_embedding", "decoder.transformer.0.mlp.c_fc.bias", "encoder.patch_embed.bias"):
        save_file({key: value for key, value in weights.items() if key != name}, pixel / "model.safetensors")
        assert name in refusal(pixel, "titok")
