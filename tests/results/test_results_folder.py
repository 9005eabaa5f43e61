"""Committed tables are what the committed records give; published rows are the facts they were taken from."""

from __future__ import annotations

import csv
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from results_synthetic import folder, record, sweep
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.results.folder import regenerate, stale
from tokbench.results.store import Store

COMMITTED = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = folder(tmp_path_factory.mktemp("results"))
    regenerate(home)
    return home


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """The folder as it was committed: records that were made here since do not count."""
    archive = subprocess.run(
        ["git", "-C", str(COMMITTED.parent), "archive", "HEAD", "results"], capture_output=True, check=False
    )
    if archive.returncode:  # not a checkout: what was unpacked is what was released
        return COMMITTED
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive.stdout, check=True)
    return tmp_path / "results"


def test_the_committed_tables_are_what_the_committed_records_give(committed: Path) -> None:
    assert stale(committed) == [], "python -c \"from tokbench.results.folder import regenerate; regenerate('results')\""


def test_regenerate_writes_tables_and_figures_that_are_not_stale(made: Path) -> None:
    assert {p.name for p in (made / "tables").iterdir()} == {
        "comparison.md", "comparison.csv", "comparison.tex", "published.md"
    }  # fmt: skip
    assert {"rate-distortion-psnr.svg", "codebook-gfid.svg", "depth-psnr.svg"} <= {
        p.name for p in (made / "figures").iterdir()
    }
    assert stale(made) == []


def test_an_edited_a_missing_and_a_foreign_table_are_stale(made: Path, tmp_path: Path) -> None:
    home = tmp_path / "results"
    shutil.copytree(made, home)
    table = home / "tables" / "comparison.md"
    table.write_text(table.read_text().replace("21.", "31.", 1))
    (home / "tables" / "comparison.csv").unlink()
    (home / "tables" / "mine.md").write_text("better than all")
    assert stale(home) == ["comparison.csv", "comparison.md", "mine.md"]


def test_a_new_record_makes_the_tables_stale(made: Path, tmp_path: Path) -> None:
    home = tmp_path / "results"
    shutil.copytree(made, home)
    Store(home / "runs.jsonl").append(record("bsq", 512))
    assert "comparison.md" in stale(home)


def test_regenerate_refuses_damaged_or_no_records(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="no records"):
        regenerate(tmp_path)
    folder(tmp_path, sweep()[:2])
    with open(tmp_path / "runs.jsonl", "a") as file:
        file.write("{half\n")
    with pytest.raises(TokbenchError, match="line 3"):
        regenerate(tmp_path)


def test_published_rows_are_the_reference_facts(shared: Path) -> None:
    source = shared / "reference" / "published.csv"
    if not source.exists():
        pytest.skip("../shared/reference/published.csv is not there")
    facts = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    text = resources.files("tokbench.results").joinpath("published.csv").read_text(encoding="utf-8")
    ours = [{k: v for k, v in row.items() if k != "quantizer"} for row in csv.DictReader(text.splitlines())]
    assert ours == facts


def test_the_table_of_losses_is_what_its_records_give(tmp_path: Path) -> None:
    made = tmp_path / "table.md"
    result = CliRunner().invoke(app, ["table", str(COMMITTED / "gan" / "runs.jsonl"), "--out", str(made)])
    assert result.exit_code == 0
    assert made.read_text().strip() == (COMMITTED / "gan" / "table.md").read_text().strip()
