"""Drawing speed is kept as records, and drawn against batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tokbench.cli.bench_sampling import bench_sampling
from tokbench.results.figures import draw
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_markdown

SMALL = ["--width", "16", "--heads", "2", "--layers", "1", "--depth-layers", "1", "--vocabulary", "16", "--turns", "1"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    app = typer.Typer()
    app.command()(bench_sampling)
    arguments = [*SMALL, "--batch-size", "1,2", "--seed", "3", "--out", str(out), "--cpu"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "4 records appended" in done.output.replace("\n", " ")
    return out / "sampling.jsonl"


def test_a_record_says_what_was_timed_where_and_how_often(file: Path) -> None:
    records = Store(file).read()
    timed = [(r.quantizer["name"], r.timing["batch_size"]) for r in records]
    assert timed == [("vq", 1), ("rq", 1), ("vq", 2), ("rq", 2)]
    assert len({r.cell for r in records}) == 4 and len({r.group for r in records}) == 1
    for record in records:
        assert record.kind == "benchmark" and record.seed == 3 and record.metrics["seconds_per_image"].n == 1
        assert record.environment["cpu"] and record.environment["torch"] and record.git is not None
        seconds = record.metrics["seconds_per_image"].value
        assert seconds and record.timing["sample_images_per_second"] == pytest.approx(1 / seconds)
        assert record.rate is not None and record.rate.bits_per_image == 1024  # 256 codes of 16, both
    assert records[0].model["parameters"] == pytest.approx(records[1].model["parameters"], rel=0.2)


def test_the_figure_shows_speed_and_ratio_against_batch(file: Path) -> None:
    speed, ratio = draw("speed", Store(file).read(), metric="sample").axes
    assert {line.get_label(): list(line.get_xdata()) for line in speed.get_lines()} == {
        "rq 8×8×4": [1, 2], "vq 16×16×1": [1, 2]
    }  # fmt: skip
    slow = next(line for line in ratio.get_lines() if ratio.get_ylabel().endswith(line.get_label()))
    assert list(slow.get_ydata()) == [1.0, 1.0]
    assert len(ratio.get_lines()) == 2


def test_the_table_shows_a_row_a_batch(file: Path) -> None:
    text = to_markdown(comparison(Store(file).read()))
    assert "batch" in text and "memory (MiB)" in text and text.count("16×16×1") == 2
