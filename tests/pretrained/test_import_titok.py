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
from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer
from tokbench.pretrained import titok
from tokbench.pretrained.taming import CODEBOOK


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


@pytest.mark.parametrize("tail_drop", [False, True])
def test_titoks_names_there_and_back(tail_drop: bool, tmp_path: Path) -> None:
    """Of weights made here: their class token has a position, linear maps are convolutions, images lie in [0, 1]."""
    torch.manual_seed(0)
    vit = {"width": 16, "depth": 1, "heads": 2}
    model = {"architecture": "titok", "patch_size": 4, "tokens": 6, "code_channels": 5, "encoder": vit, "decoder": vit}
    drop = {"tail_drop": 1.0 if tail_drop else 0.0, "initialization": "published"}
    vq = {"name": "vq", "codebook_size": 32, "codebook_update": "gradient", "commitment_weight": 0.25}
    shape = {"image_size": 16, "model": {**model, **drop}, "quantizer": vq}
    made = Tokenizer(TokenizerConfig.model_validate(shape)).eval()
    weights = made.state_dict()
    for side in ("encoder", "decoder"):  # the class token's position is nothing
        places = weights[f"{side}.sequence.positions"]
        weights[f"{side}.sequence.positions"] = torch.cat([torch.zeros_like(places[:1]), places])
    inward, outward = "encoder.patches", "decoder.head.smooth"
    weights[f"{inward}.bias"] = weights[f"{inward}.bias"] - weights[f"{inward}.weight"].sum(dim=(1, 2, 3))
    weights[f"{inward}.weight"] = weights[f"{inward}.weight"] * 2
    weights[f"{outward}.bias"] = (weights[f"{outward}.bias"] + 1) / 2
    weights[f"{outward}.weight"] = weights[f"{outward}.weight"] / 2
    state = {titok.PIXELS.official(k, 0): t for k, t in weights.items() if not k.startswith("quantizer.")}
    for name in ("encoder.conv_out.weight", "decoder.ffn.0.weight"):
        state[name] = state[name][..., None, None]
    state |= {"encoder.latent_token_positional_embedding": torch.zeros(6, 16)}
    state |= {"decoder.mask_token": torch.zeros(1, 1, 16), CODEBOOK: weights["quantizer.codes.weight"]}
    save_file({str(name): tensor.contiguous() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    size = {"width": 16, "layers": 1, "heads": 2}
    said = {"num_latent_tokens": 6, "is_legacy": False, "vit_enc_model_size": size, "vit_dec_model_size": size}
    told = {**said, "strict_length_assertion": not tail_drop}
    (tmp_path / "config.json").write_text(json.dumps({"model": {"vq_model": told}}))

    again, report = pretrained.read("one-d-piece" if tail_drop else "titok", tmp_path)
    assert not report.left_over
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    codes = made.encode(images)
    assert near(again.latents(images), made.latents(images), 1e-5)
    for prefix in made.prefixes():
        assert near(again.decode(prefix.of(codes)), made.decode(prefix.of(codes)), 1e-5)


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
