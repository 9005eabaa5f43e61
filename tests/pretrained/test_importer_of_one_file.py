"""Importers that the package does not know, of a tokenizer and of a generator: one file each is all they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tokenizer import make_tokenizer
from torch import Tensor
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.generator import ARConfig
from tokbench.generators import Generator, for_tokenizer
from tokbench.models import Tokenizer
from tokbench.pretrained import sources
from tokbench.pretrained.importer import IMPORTERS, GeneratorImporter, GeneratorPlan, Importer, TokenizerPlan, register
from tokbench.pretrained.names import Layout

CODEBOOK = "quantizer.codes.weight"


def read_tokenizer(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A layout that is ours, with another word before the names."""
    ours = {name.removeprefix("mine/"): tensor for name, tensor in given.items()}
    networks = {name: tensor for name, tensor in ours.items() if not name.startswith("quantizer.")}
    settings = make_tokenizer({"name": "vq", "codebook_size": 8}).config
    return TokenizerPlan(settings, networks, {"codebook": ours[CODEBOOK]}, Layout((("", ""),), (), ""))


def read_generator(given: dict[str, Tensor], config: dict[str, Any], tokenizer: Any, source: str, path: str) -> Any:
    settings = ARConfig(width=8, heads=1, layers=1, depth_layers=0, input="learned")
    model = for_tokenizer(settings, tokenizer, source=source, image_size=16)
    return GeneratorPlan(model, {name.removeprefix("prior/"): tensor for name, tensor in given.items()})


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(sources()) > 10  # the others are found first
    monkeypatch.setattr(IMPORTERS, "_known", dict(IMPORTERS._known))
    register(Importer("my-tokenizer", lambda names: f"mine/{CODEBOOK}" in names, read_tokenizer))
    register(GeneratorImporter("my-prior", lambda names: "prior/norm.weight" in names, read_generator))


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_importers_of_one_file_each(own: None, tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"name": "vq", "codebook_size": 8}, seed=3)
    weights = {f"mine/{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    torch.save(weights, tmp_path / "tokenizer.pt")
    command("import", "auto", tmp_path / "tokenizer.pt", "--out", tmp_path / "tokenizer")
    brought = Tokenizer.from_pretrained(tmp_path / "tokenizer")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(brought.encode(images), tokenizer.encode(images))

    settings = ARConfig(width=8, heads=1, layers=1, depth_layers=0, input="learned")
    prior = for_tokenizer(settings, brought, source="x", image_size=16)
    torch.save({f"prior/{name}": tensor for name, tensor in prior.state_dict().items()}, tmp_path / "prior.pt")
    command("import", "auto", tmp_path / "prior.pt", "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "prior")
    assert Generator.from_pretrained(tmp_path / "prior").sha256() == prior.sha256()
    assert all(name in command("list", "importers") for name in ("my-tokenizer", "my-prior"))


def test_a_name_is_taken_once(own: None) -> None:
    with pytest.raises(ValueError, match="'taming' is already registered"):
        register(Importer("taming", lambda names: False, read_tokenizer))
