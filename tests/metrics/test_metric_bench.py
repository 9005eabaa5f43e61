"""The bench of metrics: what is timed, and that ratios are those of the times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from metric_fakes import FakeSpace, Pictures
from typer.testing import CliRunner

from tokbench.bench.metrics import bench_metrics
from tokbench.errors import TokbenchError


def test_each_metric_is_timed_beside_inception(space: FakeSpace) -> None:
    result = bench_metrics(Pictures(6), ["psnr", "ssim", "ms_ssim", "rfid", "usage", "entropy"], count=4, repeats=2)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["Inception alone", "psnr", "ssim", "usage, entropy", "everything"]  # too small for MS-SSIM
    assert result["images"] == 4 and result["metrics"] == ["psnr", "ssim", "rfid", "usage", "entropy"]
    base = rows["Inception alone"]["seconds"]
    assert all(row["seconds"] > 0 for row in rows.values())
    assert rows["psnr"]["ratio"] == pytest.approx(rows["psnr"]["seconds"] / base)
    assert rows["psnr"]["ratio_cached"] == pytest.approx(2 * rows["psnr"]["ratio"])
    assert rows["everything"]["ratio_cached"] == pytest.approx(2 * rows["everything"]["ratio"] - 1)
    # Warm-up and two turns: Inception alone looks at both sets, and so does the whole pass.
    assert space.seen == 3 * (2 + 2) * 4


def test_the_command_prints_and_keeps_what_it_measured(space: FakeSpace, tmp_path: Path) -> None:
    from tokbench.cli.bench_metrics import bench_metrics as command

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    arguments = ["--image-size", "32x48", "--images", "3", "--repeats", "1", "--metrics", "psnr,usage", "--cpu",
                 "--out", str(tmp_path / "found.json")]  # fmt: skip
    output = CliRunner().invoke(app, arguments).output
    assert "photos 32x48, 3 pairs" in output and "psnr" in output and "everything" in output
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["data"] == "photos" and kept["environment"] and len(kept["rows"]) == 4


def test_mistakes_are_named(own_cache: Path) -> None:
    with pytest.raises(TokbenchError, match="tokbench weights get inception-fid"):
        bench_metrics(Pictures(3), ["psnr"])
    with pytest.raises(TokbenchError, match="nothing to time: 0 images"):
        bench_metrics(Pictures(3), count=0)


def test_metrics_of_generated_images_are_refused(space: FakeSpace) -> None:
    with pytest.raises(TokbenchError, match="'gfid' measures generated images"):
        bench_metrics(Pictures(3), ["gfid"])
