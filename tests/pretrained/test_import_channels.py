"""Checkpoints of grey models: channels are read off the weights, written by the exporters, and held to 1 or 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import official
import pytest
import torch
import yaml
from official import refusal

from tokbench import pretrained
from tokbench.models import Tokenizer


def grey(make: Callable[[], Tokenizer]) -> Tokenizer:
    """The same with one image channel."""
    usual = make()
    made = Tokenizer(usual.config.model_copy(update={"channels": 1})).eval()
    own = made.state_dict()
    kept = {name: t for name, t in usual.state_dict().items() if t.shape == own[name].shape}
    made.load_state_dict(kept, strict=False)
    return made


def same(a: Tokenizer, b: Tokenizer) -> None:
    images = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1
    assert a.config.channels == b.config.channels == 1
    codes = a.encode(images)
    assert torch.equal(codes, b.encode(images)) and torch.equal(a.decode(codes), b.decode(codes))


@pytest.mark.parametrize(
    ("format", "with_config"),
    [
        pytest.param("taming", True, id="taming-config"),
        pytest.param("rqvae", False, id="rqvae-weights alone"),
        pytest.param("taming", False, id="taming-weights alone", marks=pytest.mark.slow),
        pytest.param("rqvae", True, id="rqvae-config", marks=pytest.mark.slow),
    ],
)
def test_a_grey_model_goes_out_and_comes_back(format: str, with_config: bool, tmp_path: Path) -> None:
    tokenizer = grey(getattr(official, format))
    weights, config = pretrained.export(tokenizer, format, tmp_path / "model.ckpt")
    settings = yaml.safe_load(Path(config).read_text())
    ddconfig = (settings["model"]["params"] if format == "taming" else settings["arch"])["ddconfig"]
    assert (ddconfig["in_channels"], ddconfig["out_ch"]) == (1, 1)
    again = pretrained.load(format, weights, config if with_config else None)
    same(again, tokenizer)
    again.save_pretrained(tmp_path / "saved")
    same(Tokenizer.from_pretrained(tmp_path / "saved"), tokenizer)


@pytest.mark.parametrize("source", ["llamagen", "open_magvit2"])
def test_other_layouts(source: str, tmp_path: Path) -> None:
    tokenizer = grey(official.llamagen if source == "llamagen" else official.magvit2)
    getattr(official, f"save_{source}")(tokenizer, tmp_path / "m.pt")
    same(pretrained.load("auto", tmp_path / "m.pt"), tokenizer)


def test_ibq_and_gumbel_keep_the_channels(tmp_path: Path) -> None:
    weights, config = pretrained.export(grey(official.taming), "taming", tmp_path / "c.ckpt")
    assert pretrained.load("ibq", weights, weights="live").config.channels == 1
    state = torch.load(weights)["state_dict"]
    state["quantize.embed.weight"] = state.pop("quantize.embedding.weight")
    dim = state["quantize.embed.weight"].shape[1]
    state |= {"quantize.proj.weight": torch.rand(20, dim, 1, 1), "quantize.proj.bias": torch.zeros(20)}
    torch.save({"state_dict": state}, tmp_path / "gumbel.ckpt")
    assert pretrained.load("taming-gumbel", tmp_path / "gumbel.ckpt").config.channels == 1


def changed(folder: Path, ins: int, outs: int, **ddconfig: Any) -> tuple[Path, Path]:
    """taming's checkpoint with other numbers of channels in its weights, and in its configuration."""
    weights, config = pretrained.export(official.taming(), "taming", folder / "c.ckpt")
    state = torch.load(weights)["state_dict"]
    state["encoder.conv_in.weight"] = torch.rand(32, ins, 3, 3)
    state["decoder.conv_out.weight"], state["decoder.conv_out.bias"] = torch.rand(outs, 32, 3, 3), torch.rand(outs)
    torch.save({"state_dict": state}, weights)
    settings = yaml.safe_load(Path(config).read_text())
    settings["model"]["params"]["ddconfig"] |= {"in_channels": ins, "out_ch": outs, **ddconfig}
    Path(config).write_text(yaml.safe_dump(settings))
    return Path(weights), Path(config)


@pytest.mark.parametrize(("ins", "outs"), [(4, 4), (3, 1), (1, 3), (182, 182), (2, 2)])
def test_other_numbers_are_one_line(ins: int, outs: int, tmp_path: Path) -> None:
    weights, config = changed(tmp_path, ins, outs)
    for options in ({}, {"config": config}):
        message = refusal(weights, "taming", **options)
        assert f"from images of {ins} channels to images of {outs}; only RGB (3) and grey (1)" in message


def test_a_configuration_of_other_channels_is_held_against_the_weights(tmp_path: Path) -> None:
    weights, config = changed(tmp_path, 1, 1, in_channels=3)
    assert "in_channels is 3 in the configuration but 1 in the weights" in refusal(weights, "taming", config=config)


@pytest.mark.parametrize("name", ["encoder.conv_in.weight", "decoder.conv_out.weight"])
def test_a_damaged_end_is_one_line(name: str, tmp_path: Path) -> None:
    weights, _ = changed(tmp_path, 1, 1)
    state = torch.load(weights)["state_dict"]
    for broken in (torch.rand(32), torch.rand(()), torch.rand(32, 0, 3, 3)):
        torch.save({"state_dict": {**state, name: broken}}, weights)
        refusal(weights, "taming")
