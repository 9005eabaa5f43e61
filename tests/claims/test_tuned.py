"""A claim whose quantizers are tuned: trials first, then the cells; the check compares tuned with tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from claims_tiny import evidence, found, row, tiny
from typer.testing import CliRunner

from tokbench.claims.definition import load_claim
from tokbench.claims.findings import Verdict
from tokbench.claims.plan import plan_claim
from tokbench.claims.results import check_of, judge
from tokbench.cli.app import app
from tokbench.results.record import Record
from tokbench.results.store import Store

SEEDS = (0, 1, 2)
FIXED = [
    f"vq:quantizer.{key}" for key in ("decay=0.9", "restart_threshold=1", "kmeans_init=true", "rotation_trick=false")
]
SWEEP: dict[str, Any] = {
    "quantizer": ["vq", "fsq"],
    "bits": 4,
    "set": ["training.steps=4", "evaluation.metrics=[psnr]", "data.eval_limit=2", *FIXED],
}


def claims(*words: str) -> str:
    result = CliRunner().invoke(app, ["claims", *words, "--cpu"], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_trials_then_cells_then_a_page_with_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    tuned = {**SWEEP, "quantizer": "vq", "set": [*SWEEP["set"]], "tune": 2, "tune_pruner": "none"}
    file = str(tiny(tmp_path, "iso-rate", {"quantizers": SWEEP, "tuned": tuned}))
    options = ("--seed", "0", "--out", "out", "--work", "work")
    counted = claims(file, "--dry-run", *options)
    assert "trial 2/2" in counted and "iso-rate: 4 cells" in counted
    before = plan_claim(load_claim(file), "cpu", tmp_path / "work", seeds=[0])
    assert before.asked.parts["tuned"] == [] and "nothing was tuned" in before.asked.impossible[0][1]

    claims(file, *options)
    page, trials = Path("out/iso-rate/README.md").read_text(), Store("work/tuning/runs.jsonl").read()
    assert len(trials) == 2 and {r.data.split for r in trials if r.data is not None} == {"validation"}
    assert (
        "chosen settings" in page and "vq: tuned, PSNR is better than with the settings it comes with at 4 bits" in page
    )
    records = Store("work/runs.jsonl").read()
    claims(file, *options)  # nothing is trained again
    assert len(Store("work/runs.jsonl").read()) == len(records) and Store("work/tuning/runs.jsonl").read() == trials
    assert Path("out/iso-rate/README.md").read_text() == page


def test_what_cannot_be_tuned_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one: dict[str, Any] = {"quantizer": "fsq", "bits": 4, "set": [*SWEEP["set"][:3], "quantizer.bound=tanh"]}
    file = str(tiny(tmp_path, "iso-rate", {"quantizers": one, "tuned": {**one, "set": [*one["set"]], "tune": 2}}))
    said = claims(file, "--seed", "0", "--out", "out", "--work", "work")
    assert "not tuned: --tune: nothing is open of fsq" in said and "nothing was tuned in work/tuning yet" in said
    assert len(Store("work/runs.jsonl").read()) == 1


def test_tuned_stands_beside_tuned() -> None:
    def tuned(name: str, psnr: float, **options: Any) -> list[Record]:
        made = [row(name, 1024, 1, s, psnr=psnr + s / 50, options={"commitment_weight": 1.0, **options}) for s in SEEDS]
        how = {"trials": 6, "metric": "psnr", "chosen": {"commitment_weight": 1.0}, "default": 18.0}
        return [r.replace(training={**r.plain()["training"], "tuning": how}) for r in made]

    usual = [row(name, 1024, 1, s, psnr=base + s / 50) for name, base in {"vq": 18, "lfq": 17}.items() for s in SEEDS]
    parts = {"quantizers": usual, "tuned": [*tuned("vq", 18.5, rotation_trick=True), *tuned("lfq", 19.0)]}
    result = judge(evidence("iso-rate", parts))
    beside = found(result.findings, "lfq, tuned")
    assert beside.verdict is Verdict.holds and beside.effect == pytest.approx(0.5)
    gain = found(result.findings, "lfq: tuned")
    assert gain.informational and gain.effect == pytest.approx(2.0)
    assert found(result.findings, "lfq: PSNR").effect == pytest.approx(-1.0)  # as it comes, beside VQ as it comes
    assert "commitment_weight=1.0" in result.table and result.table.count("| lfq ") == 2
    drawn = check_of("iso-rate").panels(result.evidence)[0].by
    marks = {series.label: series.marks for series in drawn}
    assert marks["vq"] == "full" and marks["vq, tuned"] == "none"  # of one point there is no dotted line to see
