"""The command: which models it opens, and the one line for each thing that is wrong, before any page is made."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.generator import MLMConfig
from tokbench.errors import TokbenchError
from tokbench.explore import server
from tokbench.explore.models import an_example, named, opened
from tokbench.generators import for_tokenizer
from tokbench.models import Tokenizer, folder
from tokbench.results.record import Record
from tokbench.results.store import Store


@pytest.fixture
def generator_folder(rq_tokenizer: Tokenizer, rq_folder: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    settings = MLMConfig(width=16, heads=2, layers=1, class_conditional=False)
    made = for_tokenizer(settings, rq_tokenizer, source=str(rq_folder), image_size=16)
    made.save_pretrained(tmp_path / "generator")
    return tmp_path / "generator"


def test_a_generator_brings_its_tokenizer_once(generator_folder: Path, rq_folder: Path, tmp_path: Path) -> None:
    alone = opened({"mine": str(generator_folder)})
    assert list(alone.tokenizers) == ["tokenizer of mine"] and list(alone.generators) == ["mine"]
    both = opened(named([str(generator_folder), str(rq_folder)], tmp_path))
    assert list(both.tokenizers) == [str(rq_folder.parent)] and list(both.generators) == [str(generator_folder)]
    example = an_example(both, tmp_path)
    assert example is not None and example.is_file()


def test_names_of_published_models_are_models(monkeypatch: pytest.MonkeyPatch, rq_folder: Path, tmp_path: Path) -> None:
    published = {"rq-small": rq_folder}
    monkeypatch.setattr(folder.BY_NAME, "get", lambda kind: published.get)
    assert list(opened(named(["rq-small"], tmp_path)).tokenizers) == ["rq-small"]
    with pytest.raises(TokbenchError, match="rq-smal: no such folder, no published model of that name"):
        opened({"rq-smal": "rq-smal"})


def test_nothing_typed_is_the_newest_tokenizers_of_the_records(rq_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="runs.jsonl: names no tokenizer that is there; say which"):
        named([], tmp_path)
    store = Store(tmp_path / "runs.jsonl")
    for number in range(7):
        cell, there = f"cells/{number}/tokenizer", number != 5
        if there:
            (tmp_path / cell).parent.mkdir(parents=True)
            (tmp_path / cell).symlink_to(rq_folder)
        quantizer = {"name": "rq" if number < 6 else "vq", "codebook_size": 16, "depth": 2}
        created = f"2025-01-0{number + 1}T00:00:00+00:00"
        row = Record.of(
            id=f"id{number}", cell=f"{number}", created=created, name="demo", quantizer=quantizer, seed=number
        )
        store.append(row.replace(artifacts={"tokenizer": cell}, recipe={"number": number}))
    found = named([], tmp_path)
    assert [Path(path).parent.name for path in found.values()] == ["2", "3", "4", "6"]
    assert len(found) == 4 and list(found)[-1] == "vq K=16 D=2"
    assert list(opened(named([], tmp_path / "runs.jsonl")).tokenizers) == list(found)


@pytest.mark.parametrize("what", ["empty folder", "file", "nothing", "another's"])
def test_a_model_that_is_none_is_one_line(what: str, tmp_path: Path) -> None:
    place = tmp_path / "model"
    if what == "file":
        place.write_text("no model")
    elif what != "nothing":
        place.mkdir()
        if what == "another's":
            (place / "config.json").write_text('{"architectures": ["Llama"]}')
    with pytest.raises(TokbenchError) as error:
        opened({"model": str(place)})
    assert str(place) in str(error.value) and "\n" not in str(error.value)


def invoked(*arguments: str) -> str:
    with pytest.raises(TokbenchError) as error:
        CliRunner().invoke(app, ["explore", *arguments], catch_exceptions=False)
    return str(error.value)


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name == "gradio":
            raise ModuleNotFoundError("No module named 'gradio'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert invoked("anything") == "the page of explore is made with gradio: pip install 'tokbench[explore]'"


def test_a_port_that_is_taken_is_said_before_models_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "need_gradio", lambda: None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert invoked("anything", "--port", str(port)) == (
            f"--port {port}: cannot be had, something else may listen there; give another, or none"
        )
    assert "anything: no such folder" in invoked("anything", "--port", str(port))
