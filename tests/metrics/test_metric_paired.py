"""Two tokenizers compared image by image: what each image scored, the interval of the difference, the verdict."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import tokbench
from tokbench.cli.diff import diff
from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer
from tokbench.results.paired import paired, per_image
from tokbench.results.record import Record
from tokbench.results.table import comparison, to_csv, to_markdown

CONFIG = {
    "image_size": 16,
    "model": {"architecture": "vqgan", "channels": 32, "multipliers": (1, 1), "blocks": 1, "latent_channels": 8},
    "quantizer": {"name": "rq", "codebook_size": 16, "depth": 2},
}
N = 40


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record, Record]:
    """A tokenizer, and the same after a slight change to its decoder, measured on the same images."""
    home = tmp_path_factory.mktemp("paired")
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig.model_validate(CONFIG)).eval()
    images = tokbench.open_images("photos", "eval", image_size=16, limit=N)
    asked = {"metrics": ["psnr", "l1", "usage"], "results": home, "batch_size": 16}
    first = tokbench.evaluate(tokenizer, images, **asked)
    with torch.no_grad():
        for parameter in tokenizer.decoder.parameters():
            parameter.mul_(0.97)
    return home, first, tokbench.evaluate(tokenizer, images, **asked)


def test_each_image_has_its_line_and_they_come_to_the_record(two: tuple[Path, Record, Record]) -> None:
    home, first, _ = two
    with open(home / first.artifacts["images"]) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N and list(rows[0]) == ["image", "psnr", "l1"]
    for name in ("psnr", "l1"):
        values = np.array([float(row[name]) for row in rows])
        metric = first.metrics[name]
        assert values.mean() == pytest.approx(metric.value, rel=1e-6)
        assert values.std(ddof=1) / N**0.5 == pytest.approx(metric.stderr, rel=1e-4)


def test_the_interval_is_of_pairs_and_covers_the_difference(two: tuple[Path, Record, Record]) -> None:
    home, first, second = two
    found = paired(first, second, home)
    assert list(found) == ["psnr", "l1"]
    psnr, change = found["psnr"], second.metrics["psnr"].value - first.metrics["psnr"].value
    assert psnr.n == N and psnr.difference == pytest.approx(change, rel=1e-4)
    assert psnr.low < psnr.difference < psnr.high
    # What makes an image hard is common to both: the interval is narrower than that of two independent samples.
    alone = 1.96 * (first.metrics["psnr"].stderr ** 2 + second.metrics["psnr"].stderr ** 2) ** 0.5
    assert psnr.high - psnr.low < alone
    back = paired(second, first, home)["psnr"]
    assert (back.low, back.high) == pytest.approx((-psnr.high, -psnr.low), abs=(psnr.high - psnr.low) / 10)
    same = paired(first, first, home)["psnr"]
    assert same[:3] == (0, 0, 0) and same.verdict("higher") == "undecided"


@pytest.mark.parametrize("low, high, direction, verdict", [
    (0.1, 0.2, "higher", "better"), (0.1, 0.2, "lower", "worse"), (-0.2, -0.1, "lower", "better"),
    (-0.1, 0.2, "higher", "undecided"), (0.1, 0.2, "none", "differs"),
])  # fmt: skip
def test_a_verdict_is_given_where_the_interval_leaves_zero_out(
    low: float, high: float, direction: str, verdict: str
) -> None:
    from tokbench.results.paired import Paired

    assert Paired((low + high) / 2, low, high, 9).verdict(direction) == verdict


def test_diff_says_the_interval_and_the_verdict(two: tuple[Path, Record, Record]) -> None:
    home, first, second = two
    app = typer.Typer()
    app.command()(diff)
    shown = CliRunner().invoke(
        app, [first.id, second.id, "--results", str(home / "runs.jsonl")], env={"COLUMNS": "200"}
    )
    pair = paired(first, second, home)["psnr"]
    assert f"[{pair.low:+.3g}, {pair.high:+.3g}] {pair.verdict('higher')}" in shown.stdout
    assert f"paired over {N} images" in shown.stdout


def test_what_is_damaged_or_of_other_images_is_not_paired(two: tuple[Path, Record, Record]) -> None:
    home, first, second = two
    lines = (home / second.artifacts["images"]).read_text().splitlines()
    for content in (lines[:-1], [*lines[:-1], "39,x,1"], ["a,b", "1,2"], [], [*lines[:-1], "39,nan,0.1"]):
        (home / "other.csv").write_text("\n".join(content))
        other = second.replace(artifacts={"images": "other.csv"})
        assert "psnr" not in paired(first, other, home)
    assert per_image(second.replace(artifacts={"images": "../../etc/passwd"}), home) == {}


def test_tables_show_the_standard_error_on_request(two: tuple[Path, Record, Record]) -> None:
    _, first, second = two
    plain, asked = comparison([first, second]), comparison([first, second], errors=True)
    mean, error = f"{first.metrics['psnr'].value:.2f}", f"{first.metrics['psnr'].stderr:.2f}"
    assert f"{mean} ({error})" in to_markdown(asked) and "standard error" in to_markdown(asked)
    assert "standard error" not in to_markdown(plain) and "psnr_se" not in to_csv(plain)
    (row, _) = csv.DictReader(to_csv(asked).splitlines())
    assert float(row["psnr_se"]) == first.metrics["psnr"].stderr and row["psnr"] == str(first.metrics["psnr"].value)
    assert [c.best for s in asked.sections for r in s.rows for c in r.cells] == [
        c.best for s in plain.sections for r in s.rows for c in r.cells
    ]
