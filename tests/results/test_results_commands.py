"""table, plot, report, show and diff as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from results_synthetic import folder, sweep
from typer.testing import CliRunner, Result

from tokbench.cli.diff import diff
from tokbench.cli.plot import plot
from tokbench.cli.report import report
from tokbench.cli.show import show
from tokbench.cli.table import table
from tokbench.errors import TokbenchError
from tokbench.results.compare import differences
from tokbench.results.record import Record
from tokbench.results.store import Store

app = typer.Typer()
for command in (table, plot, report, show, diff):
    app.command()(command)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("results"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_table_in_every_format_to_screen_and_file(home: Path, tmp_path: Path) -> None:
    assert "### Tokenizers" in run("table", home / "runs.jsonl", "--format", "markdown").stdout
    starts = {".md": "###", ".csv": "kind,", ".tex": "%", ".json": "{", ".html": "<table>", ".txt": "Tok"}
    for end, start in starts.items():
        out = tmp_path / f"t{end}"
        done = run("table", home, "--out", out)
        assert done.exit_code == 0 and "wrote" in done.stdout
        assert out.read_text().startswith(start)
    with pytest.raises(TokbenchError, match="say --format"):
        raise run("table", home, "--out", tmp_path / "t.doc").exception or AssertionError


def test_table_selects_sorts_and_chooses_columns(home: Path) -> None:
    chosen = ("--columns", "quantizer,D", "--columns", "psnr")
    done = run("table", home, "-f", "csv", "--where", "quantizer=rq", *chosen, "--sort", "-D")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("quantizer,D,psnr,psnr_sd")
    assert [line.split(",")[9] for line in lines[1:]] == ["4", "2", "1"]
    deep = run("table", home, "-f", "csv", "--where", "depth=4", "--by-depth").stdout.splitlines()
    assert len(deep) == 5
    assert "†" in run("table", home, "-f", "markdown", "--published", "--where", "quantizer=lfq").stdout


def test_a_damaged_line_is_named_and_the_rest_shown(tmp_path: Path) -> None:
    home = folder(tmp_path, sweep()[:3])
    with open(home / "runs.jsonl", "a") as file:
        file.write('{"id": "half\n')
    done = run("table", home)
    assert done.exit_code == 0 and "vq" in done.stdout
    assert "line 4: not used" in done.stderr


def test_mistakes_are_one_line(home: Path, tmp_path: Path) -> None:
    for arguments, says in (
        (("table", tmp_path / "none.jsonl"), "no records there"),
        (("table", home, "--unverified"), "--published"),
        (("table", home, "--columns", "psnrr"), "did you mean 'psnr'"),
        (("show", "zzz", "--results", home), "no run 'zzz'"),
        (("plot", "depth", home, "--metric", "nope"), "no record has a value of 'nope'"),
        (("plot", "depth", home, "--out", tmp_path / "a.doc"), "svg"),
    ):
        error = run(*arguments).exception
        assert isinstance(error, TokbenchError) and says in str(error), (arguments, error)
        assert "\n" not in str(error)


def test_show_and_diff(home: Path) -> None:
    rows = sweep()
    shown = run("show", rows[0].id[:8], "--results", home).stdout
    assert f"{rows[0].metrics['psnr'].value:.6g} dB ↑ (n=96, tokbench-v1/psnr-1)" in shown and "training.lr" in shown
    kept = json.loads(run("show", rows[0].id, "--results", home, "--json").stdout)
    assert kept["cell"] == rows[0].cell
    assert "say the same" in run("diff", rows[0].id, rows[0].id, "--results", home).stdout
    text = run("diff", rows[0].id, rows[3].id, "--results", home).stdout
    assert "quantizer.codebook_size" in text and "better" in text


def test_differences_of_other_definitions_or_images_are_not_judged() -> None:
    one, two = sweep()[0], sweep()[3]
    by_key = {(d.block, d.key): d for d in differences(one, two)}
    change = (two.metrics["psnr"].value or 0) - (one.metrics["psnr"].value or 0)
    assert by_key["metrics", "PSNR"].change == f"{change:+.4g} better"
    assert by_key["recipe", "quantizer.codebook_size"].change == "+192"
    assert ("quantizer", "codebook_size") not in by_key  # said once, by the recipe
    assert ("training", "seconds") not in by_key
    plain = two.plain()
    plain["metrics"]["psnr"]["version"] = "other/2"
    plain["data"]["size"] = 128
    two = Record.of(**plain)
    by_key = {(d.block, d.key): d for d in differences(one, two)}
    assert by_key["metrics", "PSNR"].change == "" and "other/2" in by_key["metrics", "PSNR"].second
    assert by_key["metrics", "SSIM"].change.endswith("(other images)")
    assert by_key["data", "size"].second == "128"


def test_plot_and_report_write_files(home: Path, tmp_path: Path) -> None:
    assert run("plot", "rate-distortion", home, "--out", tmp_path / "rd.png").exit_code == 0
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")
    done = run("report", home, "--out", tmp_path / "r.html", "--where", "quantizer=rq")
    assert done.exit_code == 0 and (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_no_page_is_written_over_the_records_or_what_it_is_made_of(home: Path) -> None:
    file = home / "runs.jsonl"
    before = file.read_bytes()
    log = next(home / r.artifacts["log"] for r in Store(file).read() if "log" in r.artifacts)
    for arguments in (
        ("table", file, "-f", "csv", "-o", file),
        ("report", home, "-o", file),
        ("report", home, "-o", log),
    ):
        assert isinstance(run(*arguments).exception, TokbenchError)
    assert file.read_bytes() == before
