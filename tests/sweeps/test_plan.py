"""--dry-run: what is said of a sweep before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps_tiny import grid

from tokbench.results.environment import describe
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.estimate import Estimates
from tokbench.sweeps.generating import generator_cells
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.plan import Plan, print_plan
from tokbench.training.progress import duration


def timed(cell: Cell, seconds: float, **changes: object) -> Record:
    """As if the cell had run on this machine."""
    recipe = cell.recorded() if hasattr(cell, "recorded") else cell.recipe.resolved()
    training = {"seconds": seconds, "steps": cell.recipe.training.steps}
    values = {"id": cell.key, "cell": cell.key, "created": "", "name": "x", "environment": describe(), **changes}
    return Record.of(recipe=recipe, training=training, timing={"seconds": 2.0}, **values)


def test_time_is_what_the_like_took_on_this_machine() -> None:
    (rq, lfq), _ = tokenizer_cells(grid("rq", "lfq"))
    (other,), _ = tokenizer_cells(grid("rq", seed=[7]))
    (long,), _ = tokenizer_cells(grid("rq", set=["training.steps=120"]))
    (ar,), _ = generator_cells(grid(generator=["ar"]), [rq])
    known = Estimates([timed(rq, 6.0), timed(other, 12.0)])
    assert known.of(rq) == (0.75 * 12 + 2, "")
    assert known.of(long) == (0.75 * 120 + 2, "")
    assert known.of(lfq) == (0.75 * 12 + 2, "~")
    assert known.of(ar) == (None, "")
    assert Estimates([timed(ar, 3.0)]).of(ar) == (5.0, "")
    assert Estimates([timed(rq, 6.0, environment={"cpu": "another", "cores": 2, "gpus": []})]).of(rq) == (None, "")
    assert Estimates([timed(rq, 6.0, error="failed")]).of(rq) == (None, "")


def test_the_plan_is_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    plan = Plan.make(grid("rq", "lfq", generator=["ar"], out=tmp_path))
    print_plan(plan, tmp_path)
    said = capsys.readouterr().out
    assert said.count("to run") == 5 and "4 cells to run, time unknown" in said
    for cell in plan.cells:
        assert cell.key in said and cell.label in said
    assert "512" in said and f"{plan.generators[0].parameters:,}" in said
    assert list(tmp_path.iterdir()) == []

    Store(tmp_path / "runs.jsonl").append(timed(plan.tokenizers[0], 6.0))
    print_plan(Plan.make(grid("rq", "lfq", out=tmp_path)), tmp_path)
    said = capsys.readouterr().out
    assert "done" in said and "~8 s" in said and "1 cell to run, time about 8 s" in said


def test_a_tokenizer_whose_folder_is_gone_is_trained_again_only_for_a_generator(tmp_path: Path) -> None:
    first = Plan.make(grid("rq", out=tmp_path))
    Store(tmp_path / "runs.jsonl").append(timed(first.tokenizers[0], 1.0, artifacts={"tokenizer": "cells/x/tokenizer"}))
    assert Plan.make(grid("rq", out=tmp_path)).done == {first.tokenizers[0].key}
    plan = Plan.make(grid("rq", generator=["ar"], out=tmp_path))
    assert plan.done == set() and plan.redone == {first.tokenizers[0].key}


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 200, 18600)] == ["0 s", "59 s", "3 min 20 s", "5 h 10 min"]
