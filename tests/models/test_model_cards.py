"""The card beside a model: what the hub reads, what a person reads, and what must not be in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from small_tokenizers import make

from tokbench.config.generator import ARConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, for_tokenizer
from tokbench.models import Tokenizer
from tokbench.results.card import MARK
from tokbench.results.record import Record
from tokbench.results.store import Store

RECIPE = {
    "kind": "tokenizer", "name": "mine", "seed": 3, "start_from": "/home/somebody/first/tokenizer",
    "data": {"source": "parquet:train=/home/somebody/set/train.parquet,eval=/home/somebody/set/val.parquet"},
    "quantizer": {"name": "rq", "codebook_size": 16}, "training": {"steps": 40, "batch_size": 8},
}  # fmt: skip


def record(sha256: str, **changes: Any) -> Record:
    content = {
        "id": "abc", "cell": "c", "name": "mine", "created": "2025-01-01T12:00:00+00:00", "seed": 3, "recipe": RECIPE,
        "data": {"spec": "photos", "split": "eval", "n": 82, "size": 64, "protocol": "tokbench-v1"},
        "weights": {"which": "ema", "sha256": sha256}, "training": {"steps": 40, "seconds": 61.2, "data": "photos"},
        "git": {"revision": "0123abcd", "dirty": True},
        "metrics": {
            "psnr": {"value": 24.68, "n": 82, "version": "tokbench-v1/1", "label": "PSNR", "direction": "higher",
                     "unit": "dB", "stderr": 0.21},
            "rfid": {"value": None, "n": 0, "version": "1", "label": "rFID", "direction": "lower",
                     "note": "no weights"},
        }, **changes,
    }  # fmt: skip
    return Record.of(**content)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Tokenizer, Path]:
    """A tokenizer in a run's folder, beneath the records, as a sweep leaves it."""
    tokenizer, folder = make("vqgan"), tmp_path / "cells" / "c" / "tokenizer"
    folder.mkdir(parents=True)
    (folder.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tokenizer, folder


def test_without_a_record_the_card_has_the_recipe_and_no_numbers(run: tuple[Tokenizer, Path]) -> None:
    tokenizer, folder = run
    tokenizer.save_pretrained(folder)
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "tokbench" and "image-tokenizer" in card.data.tags
    assert card.data.license is None and not card.data.eval_results
    assert "Tokenizer.from_pretrained" in card.text and "codebook_size: 16" in card.text
    assert "## Measured" not in card.text and f"{tokenizer.parameter_count:,}" in card.text


def test_the_record_of_these_weights_gives_the_numbers(run: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, folder = run
    store = Store(tmp_path / "runs.jsonl")
    store.append(record("of another model", metrics={}))
    store.append(record(tokenizer.sha256()))
    tokenizer.save_pretrained(folder, license="mit")
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("psnr", "PSNR (dB)", 24.68)
    assert (result.dataset_type, result.dataset_split) == ("photos", "eval") and card.data.license == "mit"
    assert result.metric_args == {"n": 82, "definition": "tokbench-v1/1"}
    assert result.dataset_args == {"protocol": "tokbench-v1", "n": 82}
    assert "| PSNR (dB) ↑ | 24.68 ± 0.21 | 82 | tokbench-v1/1 |" in card.text
    assert "protocol tokbench-v1" in card.text and "0123abcd, with uncommitted changes" in card.text
    assert "averaged over training" in card.text and "no weights" in card.text


def test_the_folders_of_a_machine_are_not_published(run: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, folder = run
    tokenizer.save_pretrained(folder)
    text = (folder / "README.md").read_text()
    assert "train=train.parquet,eval=val.parquet" in text
    assert "somebody" not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    ("source", "datasets"),
    [("hub:owner/set:streaming", ["owner/set"]), ("cached:hub:owner/set", ["owner/set"]), ("folder:x", None)],
)
def test_data_sets_of_the_hub_are_linked(tmp_path: Path, source: str, datasets: list[str] | None) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": {"source": source}}))
    make("vqgan").save_pretrained(tmp_path / "tokenizer")
    assert ModelCard.load(tmp_path / "tokenizer" / "README.md").data.datasets == datasets


def test_a_readme_that_somebody_wrote_stays(tmp_path: Path) -> None:
    tokenizer, path = make("vqgan"), tmp_path / "README.md"
    path.write_text("my own words")
    tokenizer.save_pretrained(tmp_path)
    assert path.read_text() == "my own words"
    path.write_text(f"---\nold: true\n---\n{MARK}\n")
    tokenizer.save_pretrained(tmp_path)
    assert "old" not in path.read_text()


def test_what_a_record_says_is_text_and_nothing_else(run: tuple[Tokenizer, Path], tmp_path: Path) -> None:
    tokenizer, folder = run
    nasty = "x</td><script>alert(1)</script> | `a` ```"
    note = {"value": 1.0, "n": 1, "version": nasty, "label": nasty, "direction": "none", "note": nasty}
    data = {"spec": nasty, "split": "eval", "n": 1, "size": 8, "protocol": nasty}
    named = {**RECIPE, "description": "```\n<script>"}
    Store(tmp_path / "runs.jsonl").append(record(tokenizer.sha256(), metrics={"psnr": note}, data=data, recipe=named))
    tokenizer.save_pretrained(folder)
    text = ModelCard.load(folder / "README.md").text
    before, _, after = text.partition("## Recipe")
    assert "<script>" not in before and "&lt;script&gt;" in before
    row = next(line for line in before.splitlines() if line.startswith("| x"))
    assert row.replace("\\|", "").count("|") == 6  # five columns, whatever is in them
    assert after.strip().startswith("````yaml") and after.rstrip().endswith("````")


class Hub:
    """Stands in for ``huggingface_hub.HfApi``: keeps what was uploaded."""

    uploaded: dict[str, dict[str, str]] = {}
    refuses = False

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> object:
        if self.refuses:
            raise OSError("401: who are you?\nlong story")
        return type("Repository", (), {"repo_id": name})

    def upload_folder(self, repo_id: str, folder_path: str, allow_patterns: list[str], **_: object) -> object:
        files = {path.name: path for path in Path(folder_path).iterdir() if path.name in allow_patterns}
        self.uploaded[repo_id] = {n: p.read_text() for n, p in files.items() if p.suffix != ".safetensors"}
        self.uploaded[repo_id]["size"] = str((Path(folder_path) / "model.safetensors").stat().st_size)
        return type("Commit", (), {"commit_url": f"hub/{repo_id}"})


@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_push_to_hub(run: tuple[Tokenizer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    model: Any = run[0]
    if kind == "generator":
        torch.manual_seed(0)
        settings = ARConfig(width=8, heads=1, layers=1, depth_layers=1)
        model = for_tokenizer(settings, run[0], source="mine", image_size=run[0].config.image_size)
    folder = run[1].with_name(kind)
    model.save_pretrained(folder)
    Store(tmp_path / "runs.jsonl").append(record(model.sha256(), kind=kind))  # measured after it was saved
    loaded = (Tokenizer if kind == "tokenizer" else Generator).from_pretrained(folder)
    assert loaded.push_to_hub("someone/model", license="cc-by-4.0") == "hub/someone/model"
    sent = Hub.uploaded["someone/model"]
    card = ModelCard(sent["README.md"])
    assert card.data.license == "cc-by-4.0" and card.data.eval_results[0].metric_value == 24.68
    assert kind in card.data.tags and '("someone/model"' in card.text and int(sent["size"]) > 1000
    assert "config.json" in sent


def test_a_hub_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "refuses", True)
    with pytest.raises(TokbenchError, match=r"someone/model: the hub did not take it: 401: who are you\? \(logged in"):
        make("vqgan").push_to_hub("someone/model")
