"""WeTok: Open-MAGVIT2's names, of which the configuration or whoever imports says that the signs are in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import official
import pytest
import torch
import yaml

from tokbench import pretrained
from tokbench.models import Tokenizer

MODEL = {"architecture": "magvit2", "channels": 32, "multipliers": [1, 1], "blocks": 1}


@pytest.fixture(scope="module")
def made() -> Tokenizer:
    return official.tokenizer(MODEL, {"name": "gfq", "codebook_size": 256, "groups": 2})


def said(**changes: Any) -> dict[str, Any]:
    settings = {"ddconfig": {"resolution": 32}, "n_embed": 256, "num_codebooks": 2, "embed_dim": 16, **changes}
    return {"model": {"class_path": "src.WeTok.models.lfqgan.VQModel", "init_args": settings}}


@pytest.mark.parametrize(("source", "configured"), [("wetok", False), ("wetok", True), ("auto", True)])
def test_the_groups_are_read(made: Tokenizer, source: str, configured: bool, tmp_path: Path) -> None:
    official.save_open_magvit2(made, tmp_path / "WeTok.ckpt")
    (tmp_path / "wetok.yaml").write_text(yaml.safe_dump(said()))
    brought = pretrained.load(source, tmp_path / "WeTok.ckpt", tmp_path / "wetok.yaml" if configured else None)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = made.encode(images)
    assert brought.quantizer.codebook_sizes == (256, 256) and torch.equal(brought.encode(images), codes)
    assert torch.equal(brought.decode(codes), made.decode(codes))


def test_what_does_not_fit_is_said(made: Tokenizer, tmp_path: Path) -> None:
    official.save_open_magvit2(made, tmp_path / "WeTok.ckpt")
    for changes, why in (
        ({"num_codebooks": 3}, "num_codebooks 3 does not divide the latents' 16 channels"),
        ({"n_embed": 16}, "n_embed is 16 in the configuration but 256 in the weights"),
    ):
        (tmp_path / "wetok.yaml").write_text(yaml.safe_dump(said(**changes)))
        assert why in official.refusal(tmp_path / "WeTok.ckpt", "wetok", config=tmp_path / "wetok.yaml")
