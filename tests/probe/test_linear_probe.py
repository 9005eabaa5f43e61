"""Linear probes: of code vectors, and of what an AR has half-way through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from test_probe import probe
from tiny_tokenizer import make_tokenizer

from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, for_tokenizer
from tokbench.models import Tokenizer
from tokbench.probe.linear import LinearClassifier, of_generator
from tokbench.results.store import Store
from tokbench.results.table import comparison


@pytest.fixture(scope="module")
def generator(home: Path) -> Path:
    """An AR on the tokenizer's codes, as it begins."""
    tokenizer = Tokenizer.from_pretrained(home / "tok")
    settings = ARConfig(name="ar", width=16, heads=2, layers=3, depth_layers=1)
    for_tokenizer(settings, tokenizer, source=str(home / "tok"), image_size=16).save_pretrained(home / "ar")
    return home / "ar"


def test_one_layer_on_code_vectors_and_on_an_ar_is_recorded_under_names_of_its_own(
    home: Path, generator: Path, tmp_path: Path
) -> None:
    done = probe(home, tmp_path, "--inputs", "linear,ar", "--generator", str(generator))
    assert done.exit_code == 0, done.output
    linear, ar = Store(tmp_path / "runs.jsonl").read()
    assert list(linear.metrics) == ["linear_top1"] and list(ar.metrics) == ["ar_top1"]
    assert (linear.metrics["linear_top1"].value or 0) > 80 and ar.metrics["ar_top1"].value is not None
    assert linear.model["parameters"] == 2 * (4 * 4 * 6 + 1) and ar.model["parameters"] == 2 * (16 + 1)
    version = linear.metrics["linear_top1"].version
    assert "-40-60x8-" in version and "w16" not in version and ar.metrics["ar_top1"].version.endswith("-block1")
    assert ar.recipe["block"] == 1 and ar.recipe["generator"] and "width" not in ar.recipe
    wider = probe(home, tmp_path, "--inputs", "linear", "--width", "8")
    assert wider.exit_code == 0 and "there already" in wider.output  # no width is in it
    (section,) = comparison(Store(tmp_path / "runs.jsonl").read()).sections
    assert {"linear_top1", "ar_top1"} <= {column.key.partition("@")[0] for column in section.columns}


def test_an_ar_is_read_after_its_block_and_its_weights_stay(home: Path, generator: Path) -> None:
    tokenizer, model = Tokenizer.from_pretrained(home / "tok"), Generator.from_pretrained(generator)
    codes = torch.randint(32, (5, 4, 4, 2))
    seen: list[torch.Tensor] = []
    model.eval().body.blocks[1].register_forward_hook(lambda module, given, out: seen.append(out))
    model.logits(codes)
    features, block = of_generator(model, tokenizer.quantizer, 2)
    torch.testing.assert_close(features(codes), seen[0][:, -16:].mean(1))
    assert block == 2 and of_generator(model, tokenizer.quantizer)[1] == 1
    classifier = LinearClassifier(features, 16, 2)
    assert {name for name, _ in classifier.named_parameters()} == {"head.weight", "head.bias"}
    classifier.loss(codes, torch.tensor([0, 1, 0, 1, 0])).backward()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--inputs", "ar"], "give its folder by --generator"),
        (["--inputs", "linear", "--generator", "GENERATOR"], "are of --inputs ar: add it, or leave them out"),
        (["--inputs", "codes", "--block", "1"], "are of --inputs ar"),
        (["--inputs", "ar", "--generator", "GENERATOR", "--block", "4"], "the generator has 3, counted from 1"),
        (["--inputs", "ar", "--generator", "HOME/none"], "none"),
        (["--inputs", "ar", "--generator", "GENERATOR", "--size", "32"], r"codes lie on \(4, 4\)"),
        (["--inputs", "liner"], "unknown .did you mean 'linear'"),
    ],
)
def test_a_wrong_probe_is_one_line(home: Path, generator: Path, tmp_path: Path, more: list[str], said: str) -> None:
    given = [text.replace("GENERATOR", str(generator)).replace("HOME", str(home)) for text in more]
    failed = probe(home, tmp_path, *given)
    assert isinstance(failed.exception, TokbenchError), failed.output
    assert re.search(said, str(failed.exception)) and not (tmp_path / "runs.jsonl").exists()


def test_an_ar_of_other_codes_or_another_kind_is_refused(home: Path, generator: Path, tmp_path: Path) -> None:
    make_tokenizer({"name": "rq", "codebook_size": 32, "depth": 2}, seed=5).save_pretrained(home / "stranger")
    failed = probe(home, tmp_path, "--inputs", "ar", "--generator", str(generator), tokenizer="stranger")
    assert "not the tokenizer of this generator" in str(failed.exception)
    tokenizer = Tokenizer.from_pretrained(home / "tok")
    settings = MLMConfig(name="mlm", width=16, heads=2, layers=1)
    made = for_tokenizer(settings, tokenizer, source="tok", image_size=16)
    with pytest.raises(TokbenchError, match="reads the blocks of an ar, and this is mlm"):
        of_generator(made, tokenizer.quantizer)
