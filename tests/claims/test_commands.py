"""``tokbench claims`` from the command line: trains, judges, goes on, shares cells, counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from claims_tiny import tiny
from typer.testing import CliRunner

from tokbench.bench.sampling_cells import SamplingBench, bench_cells, run_bench
from tokbench.cli.app import app
from tokbench.results.store import Store

SWEEP = {"quantizer": "rq", "codebook_size": 16, "depth": 2}


def claims(*words: str) -> str:
    result = CliRunner().invoke(app, ["claims", *words], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tiny(tmp_path, "coarse-to-fine", {"shared": SWEEP}))


def test_a_claim_is_run_judged_and_not_run_again(file: str, tmp_path: Path) -> None:
    # One cell: "separate" is asked for by nobody, so what the check says of it is "not measured".
    tiny(tmp_path, "coarse-to-fine", {"shared": SWEEP, "separate": SWEEP})
    output = claims(file, "--seed", "0", "--out", "out", "--work", "work", "--cpu")
    assert "PSNR improves with every depth decoded, 1 to 2" in output and "undecided" in output  # of one seed
    store = Store("work/runs.jsonl")
    (record,) = store.read()  # both parts ask for the same cell: it is trained once
    assert record.error is None and record.seed == 0
    page = Path("out/coarse-to-fine/README.md").read_text()
    assert "1 of 1 cells measured" in page and Path("out/coarse-to-fine/cpu/figure.png").exists()

    before = page
    claims(file, "--seed", "0", "--out", "out", "--work", "work", "--cpu")
    assert len(store.read()) == 1 and Path("out/coarse-to-fine/README.md").read_text() == before

    # Judging again needs no more than what lies beside the page.
    Path("out/coarse-to-fine/README.md").unlink()
    assert "undecided" in claims(file, "--judge", "--out", "out", "--work", "nowhere")
    assert Path("out/coarse-to-fine/README.md").read_text() == before
    # Another seed has no records: its cells are named.
    output = claims(file, "--judge", "--seed", "0,7", "--out", "out", "--work", "work")
    assert "(incomplete)" in output and "seed=7" in output
    assert str(tmp_path) not in Path("out/coarse-to-fine/cpu/records.jsonl").read_text()


def test_a_cell_that_fails_is_named_and_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = {**SWEEP, "set": ["data.source=folder:train=no,eval=no"]}
    file = tiny(tmp_path, "coarse-to-fine", {"shared": nowhere, "separate": nowhere})
    words = ["claims", str(file), "--seed", "0", "--out", "out", "--work", "work", "--cpu"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 1 and "failed: shared: rq" in result.output
    assert "failed: shared: rq" in Path("out/coarse-to-fine/README.md").read_text()


def test_dry_run_and_paper_train_nothing(file: str, tmp_path: Path) -> None:
    other = str(tiny(tmp_path, "iso-rate", {"quantizers": {**SWEEP, "depth": [2, 3]}}))
    output = claims(file, other, "--dry-run", "--seed", "0", "--work", "work")
    assert "1 cell to run" in output and "GPU hours" not in output
    assert "together: 2 different cells" in output  # one is in both
    output = claims("coarse-to-fine", "--scale", "paper", "--seed", "0", "--work", "work")
    assert "nothing was run: --scale paper runs with --yes" in output
    assert "GPU hours: FLOPs of a train step" in output and "40% of an H100's peak bf16 (989.5 TFLOP/s)" in output
    assert "coarse-to-fine: 2 cells" in output
    assert not Path("work").exists() and not Path("results").exists()


def test_without_a_name_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = claims()
    assert "depth-or-codebook" in output and "iso-rate" in output
    result = CliRunner().invoke(app, ["claims", "iso-rates"])
    assert "did you mean 'iso-rate'" in str(result.exception)


def test_a_bench_is_a_record_for_each_contender_and_batch() -> None:
    settings = SamplingBench(batch_size=[1, 2], width=16, heads=2, layers=1, depth_layers=1, vocabulary=8, turns=1)
    cells = bench_cells(settings, [5])
    records = run_bench(cells, cpu=True)
    assert {record.cell for record in records} == {cell.key for cell in cells} and len(records) == 4
    assert all(record.seed == 5 and (record.metrics["seconds_per_image"].value or 0) > 0 for record in records)
