"""Reading of rendered text: error rates, by size, of whatever reads; and Tesseract itself where it is installed."""

from __future__ import annotations

import functools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_fakes import GreyTokenizer, Pictures
from tiny_tokenizer import make_tokenizer
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.data import open_images
from tokbench.data.text import Written
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer, get, tesseract
from tokbench.metrics.text_accuracy import Readings, error_rate

PROGRAM = """#!/bin/sh
case "$1" in
--version) echo "tesseract 9.9.1" ;;
--list-langs) echo "eng" ;;
*) while read -r file; do printf 'the %s\\n\\f'; done < "$1" ;;
esac
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program called tesseract before all others."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "tesseract").write_text(script)
        (folder / "tesseract").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        forget()

    yield install
    forget()


def forget() -> None:
    tesseract.version.cache_clear()
    tesseract._languages.cache_clear()
    tesseract._read.clear()


def distance(one: str, other: str) -> int:
    """Levenshtein's, by its definition."""

    @functools.cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return of(len(one), len(other))


def test_error_rates_are_levenshteins() -> None:
    assert error_rate("sitting", "kitten") == 3 / 7 and error_rate("same", "same") == 0
    assert error_rate("word", "") == 1 and error_rate("a", "much longer") == 1  # never more
    draw = random.Random(0)
    for _ in range(100):
        text, read = ("".join(draw.choices("ab c", k=draw.randint(1, 12))) for _ in range(2))
        assert error_rate(text, read) == min(1.0, distance(text, read) / len(text))


def test_by_size_and_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Originals are read as they are, reconstructions not at all where the text is small."""
    images = open_images("text", "eval", image_size=64, limit=20)
    texts = [images.truth(k).text for k in range(len(images))]
    originals = torch.stack([images[k]["image"] for k in range(len(images))])

    def read(batch: torch.Tensor, sizes: list[int]) -> list[str]:
        if torch.equal(batch, originals):
            return texts
        return ["" if size < 12 else text[1:] for text, size in zip(texts, sizes, strict=True)]

    monkeypatch.setattr(tesseract, "read", read)
    monkeypatch.setattr(tesseract, "missing", lambda: None)
    monkeypatch.setattr(tesseract, "version", lambda: "1.0")
    found = evaluate_tokenizer(GreyTokenizer(), images, metrics=["text_accuracy"], by_depth=False).metrics[
        "text_accuracy"
    ]
    rows = found.extra["by_size"]
    assert [(row["size"], row["n"], row["cer_originals"]) for row in rows] == [(s, 4, 0.0) for s in (8, 10, 12, 14, 16)]
    assert [row["cer"] for row in rows[:2]] == [1.0, 1.0] and 0 < rows[-1]["cer"] < 0.2
    assert found.value == pytest.approx(100 * (1 - sum(row["cer"] * row["n"] for row in rows) / 20))
    assert found.version == "tokbench-v1/text_accuracy-1-tesseract1.0" and found.unit == "%"


def test_readings_add_up() -> None:
    truth = [Written("one", 8), Written("two", 32), Written("six", 8)]
    parts = [Readings(), Readings()]
    whole = Readings()
    for statistics, which in ((parts[0], [0]), (parts[1], [1, 2]), (whole, [0, 1, 2])):
        made = [[0.1, 0.2, 0.6][k] for k in which]
        statistics.count([truth[k] for k in which], [0.0 for _ in which], made)
        statistics.update(100 * (1 - torch.tensor(made, dtype=torch.float64)))
    parts[0].merge(parts[1])
    assert parts[0].beside() == whole.beside() and parts[0].value() == pytest.approx(whole.value())
    assert [row["cer"] for row in whole.beside()["by_size"]] == pytest.approx([0.35, 0.2])


def test_other_images_and_no_program_are_said_and_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluate_tokenizer(GreyTokenizer(), Pictures(3), metrics=["psnr", "text_accuracy"]).metrics
    assert found["psnr"].value is not None and found["text_accuracy"].value is None
    assert "use the data source 'text'" in str(found["text_accuracy"].note)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    text = open_images("text", "eval", image_size=32, limit=3)
    found = evaluate_tokenizer(GreyTokenizer(), text, metrics=["psnr", "text_accuracy"]).metrics
    assert found["psnr"].value is not None and "apt install tesseract-ocr" in str(found["text_accuracy"].note)
    assert "text_accuracy" not in evaluate_tokenizer(GreyTokenizer(), text).metrics  # nobody asked for it


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (PROGRAM.replace("printf", "[ $((n += 1)) -gt 1 ] || printf"), "tesseract read 2 of 3 images"),
        (PROGRAM.replace('echo "eng"', 'echo "deu"'), "tesseract has no language 'eng'"),
        (
            "#!/bin/sh\necho first >&2\necho its network is damaged >&2\nexit 3\n",
            "tesseract failed: its network is dam",
        ),
    ],
)
def test_a_program_that_fails_is_one_line(installed: Any, script: str, said: str) -> None:
    installed(script)
    if (missing := tesseract.missing()) is not None:
        assert said in missing
        return
    with pytest.raises(TokbenchError, match=said):
        tesseract.read(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 32, 32), [8, 8, 8])


def test_from_the_command_to_the_report(installed: Any, tmp_path: Path) -> None:
    installed(PROGRAM)
    folder = tmp_path / "tokenizer"
    make_tokenizer({"name": "rq", "codebook_size": 8, "depth": 2}, image_size=32).save_pretrained(folder)
    command = ["evaluate", str(folder), "--data", "text", "--limit", "6", "--out", str(tmp_path / "out"), "--cpu"]
    result = CliRunner().invoke(
        app, [*command, "--metrics", "text_accuracy"], env={"COLUMNS": "100"}, catch_exceptions=False
    )
    assert "of characters wrong at 8 pixels (" in result.output
    record = json.loads((tmp_path / "out" / "runs.jsonl").read_text())
    assert record["metrics"]["text_accuracy"]["version"].endswith("text_accuracy-1-tesseract9.9.1")
    assert all((tmp_path / "out" / record["artifacts"][role]).is_file() for role in ("originals", "reconstructions"))
    for what in (["report"], ["plot", "reading"]):
        page = tmp_path / f"{what[-1]}.{'html' if what == ['report'] else 'svg'}"
        done = CliRunner().invoke(app, [*what, str(tmp_path / "out"), "--out", str(page)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "character error rate" in page.read_text() or page.suffix == ".svg"


@pytest.mark.skipif(tesseract.missing() is not None, reason=str(tesseract.missing()))
def test_tesseract_reads_originals_and_not_what_is_blurred() -> None:
    images = open_images("text", "eval", image_size=96, limit=7)
    batch = torch.stack([images[k]["image"] for k in range(len(images))])
    small = torch.nn.functional.avg_pool2d(batch.float(), 8)
    blurred = torch.nn.functional.interpolate(small, scale_factor=8).round().to(torch.uint8)
    truth = [images.truth(k) for k in range(len(images))]
    metric: Any = get("text_accuracy")
    rates = [
        [error_rate(w.text, t) for w, t in zip(truth, tesseract.read(each, [w.size for w in truth]), strict=True)]
        for each in (batch, blurred)
    ]
    assert sum(rates[0][-4:]) / 4 < 0.1 and sum(rates[1]) / len(rates[1]) > 0.8
    assert metric.unavailable(96) is None
