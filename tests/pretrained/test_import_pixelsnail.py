"""PixelSNAIL of VQ-VAE-2: the official code's numbers, and what cannot come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tokbench import pretrained
from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.generators import Generator

SETTINGS = ("H", "W", "n_class", "channel", "kernel", "n_block", "n_res_block", "res_channel")
EACH = pytest.mark.parametrize("name", ["pixelsnail_top", "pixelsnail_bottom"])


def official(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(folder / f"{name}_io.npz").items()}


def inputs(numbers: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
    more = {"condition": numbers["condition"][..., None]} if "condition" in numbers else {}
    return numbers["codes"][..., None], more


@EACH
@torch.no_grad()
def test_logits_and_codes_are_the_official_ones(golden_conditional: Path, name: str, tmp_path: Path) -> None:
    numbers = official(golden_conditional, name)
    codes, more = inputs(numbers)
    config = dict(zip(SETTINGS, map(int, numbers["config"]), strict=False))
    made = pretrained.load_generator("pixelsnail", golden_conditional / f"{name}.pt", config)
    made.save_pretrained(tmp_path)
    again = Generator.from_pretrained(tmp_path)  # without its tokenizer, which is not known
    (logits,) = again.logits(codes, **more)
    torch.testing.assert_close(logits, numbers["logits"].flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)
    assert float(again.nll(codes, **more).sum()) / codes.numel() == pytest.approx(float(numbers["loss"]), rel=1e-5)
    assert torch.equal(again.generate(len(codes), temperature=0.0, **more)[..., 0], numbers["greedy"])


@EACH
def test_gradients_are_the_official_ones(golden_conditional: Path, name: str) -> None:
    numbers = official(golden_conditional, name)
    codes, more = inputs(numbers)
    made: Any = pretrained.load_generator("auto", golden_conditional / f"{name}.pt")
    made.loss(codes, **more).backward()
    for found, key in (
        (made.above.direction.grad, "grad_horizontal_v"),
        (made.above.scale.grad.view(-1, 1, 1, 1), "grad_horizontal_g"),
        (made.heads[0].bias.grad, "grad_out_bias"),
    ):
        torch.testing.assert_close(found, numbers[key], rtol=1e-3, atol=1e-5)


def test_what_does_not_fit_is_one_line(golden_conditional: Path, tmp_path: Path) -> None:
    weights = torch.load(golden_conditional / "pixelsnail_top.pt", weights_only=True)["model"]
    for change, said in (
        ({"other.weight": torch.zeros(1)}, "weights of no known purpose: other.weight"),
        ({"vertical.conv.conv.bias": None}, "left.bias"),
        ({"background": None}, "no weight for background"),
    ):
        changed = {name: tensor for name, tensor in {**weights, **change}.items() if tensor is not None}
        torch.save({"model": changed}, tmp_path / "changed.pt")
        with pytest.raises(TokbenchError, match=said):
            pretrained.load_generator("pixelsnail", tmp_path / "changed.pt")
    with pytest.raises(TokbenchError, match="n_class is 13 in the configuration but 12 in the weights"):
        pretrained.load_generator("pixelsnail", golden_conditional / "pixelsnail_top.pt", {"n_class": 13})


def test_it_comes_in_from_the_command_line(golden_conditional: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["import", "pixelsnail", str(golden_conditional / "pixelsnail_top.pt"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    official = pretrained.load_generator("pixelsnail", golden_conditional / "pixelsnail_top.pt", {})
    assert Generator.from_pretrained(out).sha256() == official.sha256()
