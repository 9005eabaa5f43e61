"""BSQ-ViT's own codes and images (``VITBSQModel`` at 37d212d2, random weights), of its file and of its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from official import refusal
from safetensors.torch import load_file
from torch import Tensor

from tokbench import pretrained

FIXTURE = Path(__file__).parents[1] / "fixtures" / "importers" / "bsq_vit.safetensors"


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights, and what the official model made of ``x``."""
    held = load_file(FIXTURE)
    io = {name.removeprefix("io."): tensor for name, tensor in held.items() if name.startswith("io.")}
    return {name: tensor for name, tensor in held.items() if not name.startswith("io.")}, io


def config(**changes: Any) -> dict[str, Any]:
    vit = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 2, "heads": 2, "mlp_ratio": 2}
    params = {"embed_dim": 6, "l2_norm": True, "post_q_l2_norm": True, "beta": 0.0, "vitconfig": {**vit, **changes}}
    return {"model": {"target": "transcoder.models.bsqvit.VITBSQModel", "params": params}}


def save(weights: dict[str, Tensor], path: Path) -> Path:
    live = {f"module.{name}": t / 2 if t.is_floating_point() else t for name, t in weights.items()}
    ema = {f"module.module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": live, "ema_state_dict": ema, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("source", ["bsq-vit", "auto"])
def test_codes_and_images_of_the_official_model(golden: Any, source: str, tmp_path: Path) -> None:
    weights, io = golden
    (tmp_path / "bsq.yaml").write_text(yaml.safe_dump(config()))
    tokenizer = pretrained.load(source, save(weights, tmp_path / "bsq.pt"), tmp_path / "bsq.yaml")
    codes = tokenizer.encode(io["x"])
    assert torch.equal(codes.flatten(1), io["indices"])
    with torch.no_grad():
        torch.testing.assert_close(tokenizer.decode(codes), io["reconstruction"], rtol=1e-4, atol=1e-5)
        other = tokenizer.decode(tokenizer.encode(torch.rand(1, 3, 24, 32) * 2 - 1))  # positions in between
    assert other.shape == (1, 3, 24, 32)


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ({}, (0.1, 1.0)),
        ({"zeta": None, "gamma": None}, (0.1, 1.0)),
        ({"zeta": 0.0, "gamma": 0.0}, (0.0, 0.0)),
        ({"zeta": 0.2, "gamma0": 0.5}, (0.1, 2.0)),
    ],
)
def test_the_weights_of_the_entropies_are_those_that_are_said(
    golden: Any, params: dict[str, float | None], weights: tuple[float, float], tmp_path: Path
) -> None:
    """Of zeta (gamma0 per-sample entropy - gamma codebook entropy); nothing is a weight too."""
    said = config()
    said["model"]["params"] |= params
    tokenizer = pretrained.load("bsq-vit", save(golden[0], tmp_path / "bsq.pt"), said)
    assert (tokenizer.quantizer.entropy_weight, tokenizer.quantizer.diversity_weight) == weights
    said["model"]["params"]["gamma0"] = 0
    assert "gamma0 0 is not supported" in refusal(tmp_path / "bsq.pt", "bsq-vit", config=said)


def test_entropies_are_of_the_groups_that_the_weights_show(golden: Any, tmp_path: Path) -> None:
    weights = golden[0] | {"quantize.group_basis": torch.zeros(3)}
    for said in ({}, {"embed_group_size": 3}):
        asked = config()
        asked["model"]["params"] |= said
        tokenizer = pretrained.load("bsq-vit", save(weights, tmp_path / "bsq.pt"), asked)
        assert tokenizer.quantizer.entropy_groups == (3, 3)
    asked["model"]["params"]["embed_group_size"] = 2
    assert "embed_group_size is 2 in the configuration but 3" in refusal(tmp_path / "bsq.pt", "bsq-vit", config=asked)
    weights["quantize.group_basis"] = torch.zeros(4)
    path = save(weights, tmp_path / "bsq.pt")
    assert "embed_group_size 4 does not divide 6 bits" in refusal(path, "bsq-vit", config=config())


def test_what_does_not_fit_is_said(golden: Any, tmp_path: Path) -> None:
    weights, _ = golden
    path = save(weights, tmp_path / "bsq.pt")
    assert "layers is 3 in the configuration but 2 in the weights" in refusal(path, "bsq-vit", config=config(layers=3))
    assert "mask_type: 'causal' is not supported" in refusal(path, "bsq-vit", config=config(mask_type="causal"))
    assert "width 16 is not a multiple of heads 3" in refusal(path, "bsq-vit", config=config(heads=3))
    report = pretrained.read("bsq-vit", path)[1]
    assert "taken to have 1 heads: the weights do not show it" in report.notes and not report.left_over
