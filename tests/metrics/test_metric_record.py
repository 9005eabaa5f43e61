"""From a tokenizer in a folder to one line in the results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.evaluate import evaluate
from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer, tokenizer_record
from tokbench.metrics.record import saved_weights
from tokbench.models import Tokenizer
from tokbench.results.store import Store
from tokbench.results.table import comparison

CONFIG = {
    "image_size": 16,
    "model": {"architecture": "vqgan", "channels": 32, "multipliers": (1, 1), "blocks": 1, "latent_channels": 8},
    "quantizer": {"name": "rq", "codebook_size": 16, "depth": 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Tokenizer(TokenizerConfig.model_validate(CONFIG)).save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def test_a_record_holds_what_was_measured_and_on_what(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder)
    dataset = open_images("photos", "eval", image_size=16, limit=6)
    result = evaluate_tokenizer(tokenizer, dataset, metrics=["psnr", "usage", "rfid"])
    record = tokenizer_record(
        result,
        tokenizer,
        name="small",
        recipe={"a": 1},
        cell="c",
        seed=3,
        training={"steps": 5},
        artifacts={"tokenizer": "small"},
        weights_which="live",
    )
    assert record.metrics["psnr"].value == result.metrics["psnr"].value
    assert record.metrics["rfid"].value is None and record.metrics["rfid"].note
    assert record.quantizer == {"name": "rq", "codebook_size": 16, "depth": 2}
    assert record.rate is not None and record.rate.tokens == [8, 8, 2] and record.rate.bits_per_pixel == 2.0
    assert record.data is not None and (record.data.n, record.data.size) == (6, 16)
    assert record.data.protocol == "tokbench-v1" and record.data.spec == "photos"
    assert record.weights == {"which": "live", "sha256": tokenizer.sha256()}
    codebook = 16 * tokenizer.quantizer.dim  # learned by moving averages, and counted
    assert record.model["parameters"] == sum(p.numel() for p in tokenizer.parameters()) + codebook
    assert (record.seed, record.training.steps) == (3, 5)


def _run(*arguments: str) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(evaluate)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_command_appends_one_record_and_shows_it(folder: Path, tmp_path: Path) -> None:
    arguments = (
        str(folder),
        "--data",
        "photos",
        "--limit",
        "5",
        "--metrics",
        "psnr,usage",
        "--metrics",
        "rfid",
        "--cpu",
        "--out",
        str(tmp_path),
    )
    output = _run(*arguments)
    _run(*arguments)
    first, second = Store(tmp_path / "runs.jsonl").read()
    assert set(first.metrics) == {"psnr", "usage", "rfid"}
    assert first.name == "small" and first.kind == "tokenizer"
    assert first.cell == second.cell and first.id != second.id
    assert first.metrics["psnr"].value == second.metrics["psnr"].value
    assert "PSNR ↑ (dB)" in output and "tokbench weights get inception-fid" in output and "5 images" in output


@pytest.mark.parametrize("decay, which", [(0.99, "ema"), (0.0, "live")])
def test_a_record_says_which_weights_the_run_kept(folder: Path, tmp_path: Path, decay: float, which: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    folder.rename(run / "tokenizer")
    assert saved_weights(run / "tokenizer") == "saved"  # nothing says
    (run / "recipe.yaml").write_text(f"kind: tokenizer\ntraining:\n  ema_decay: {decay}\n")
    assert saved_weights(run / "tokenizer") == which
    _run(
        str(run / "tokenizer"), "--data", "photos", "--limit", "3", "--metrics", "psnr", "--cpu", "--out", str(tmp_path)
    )
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.weights["which"] == which
    (run / "recipe.yaml").write_text("kind: generator\ntraining: {ema_decay: 0.5}\n")  # of something else
    assert saved_weights(run / "tokenizer") == "saved"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--metrics", "pnsr"), "unknown metric 'pnsr'.*'psnr'"),
        (("--protocol", "tokbench"), "unknown protocol 'tokbench'.*tokbench-v1"),
        (("--split", "test"), "no split is called 'test'"),
    ],
)
def test_mistakes_are_one_line(folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        _run(str(folder), "--data", "photos", "--limit", "5", "--cpu", "--out", str(tmp_path), *arguments)
    assert not (tmp_path / "runs.jsonl").exists()


def test_a_record_and_its_card_say_of_how_many(folder: Path, tmp_path: Path) -> None:
    for k in range(12):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (20 * k, 0, 0)).save(tmp_path / "set" / f"{k}.png")
    said = " ".join(
        _run(
            str(folder), "--data", f"folder:{tmp_path}/set", "--metrics", "psnr", "--cpu", "--out", str(tmp_path)
        ).split()
    )
    records = Store(tmp_path / "runs.jsonl").read()
    data = records[0].data
    assert data is not None and data.of == 12 and data.n < 12 and data.count == f"{data.n} of 12"
    assert f"{data.n} of its 12 images are held out" in said and f"{data.count} images of folder:" in said
    assert f"On {data.count} images" in (folder / "README.md").read_text()
    assert f"· {data.count} images ·" in comparison(records).sections[0].title
