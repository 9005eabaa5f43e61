"""The live table: a terminal sees what runs, whichever process does it; elsewhere there are lines."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console
from sweeps_tiny import grid

from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.progress import Progress, last_line
from tokbench.sweeps.run import run_sweep


def seen(progress: Progress, height: int = 20) -> str:
    console = Console(file=io.StringIO(), width=100, height=height, force_terminal=True, color_system=None)
    console.print(progress)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def terminal() -> Console:
    return Console(file=io.StringIO(), width=100, height=20, force_terminal=True)


def test_what_runs_is_read_from_the_folders_of_the_cells(tmp_path: Path) -> None:
    cells, _ = tokenizer_cells(grid("rq", "lfq", seed=[0, 1]))
    progress = Progress(cells, tmp_path, terminal())
    first = tmp_path / "cells" / cells[0].key
    first.mkdir(parents=True)
    progress.start(cells[0])
    assert "starting" in seen(progress)
    (first / "stages.jsonl").write_text(json.dumps({"stage": "train"}) + "\n")
    (first / "log.jsonl").write_text(json.dumps({"step": 7, "loss": 0.25}) + '\n{"step": 9, "lo')
    assert "7/12" in seen(progress) and "loss 0.25" in seen(progress) and "left" not in seen(progress)
    (first / "log.jsonl").write_text(json.dumps({"step": 7, "seconds": 70.0, "loss": 0.25}) + "\n")
    seen(progress)  # 10 s a step: 5 steps here and 12 in each of the three cells that wait
    assert "about 6 min 50 s left" in seen(progress)
    (first / "stages.jsonl").write_text(json.dumps({"stage": "evaluate"}) + "\n")
    assert "evaluate" in seen(progress) and "7/12" not in seen(progress)
    progress.end(cells[0], "done")
    progress.end(cells[1], "failed", "out of luck")
    text = seen(progress)
    assert "1 done, 1 failed, 2 waiting" in text and "out of luck" in text


def test_a_long_table_shows_what_runs(tmp_path: Path) -> None:
    cells, _ = tokenizer_cells(grid("lfq", seed=list(range(40))))
    progress = Progress(cells, tmp_path, terminal())
    for cell in cells[:20]:
        progress.end(cell, "done")
    progress.start(cells[20])
    text = seen(progress, height=12)
    assert len(text.splitlines()) <= 12 and cells[20].label in text and "20 done, 1 running, 19 waiting" in text


def test_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    cells, _ = tokenizer_cells(grid("rq"))
    said = io.StringIO()
    with Progress(cells, tmp_path, Console(file=said, width=60), watch=True) as progress:
        progress.start(cells[0])
        progress.end(cells[0], "failed", "out of [luck]")
    assert said.getvalue().splitlines() == [
        "[1/1] rq K=16 D=2: started",
        "[1/1] rq K=16 D=2: failed: out of [luck]",
    ]


def test_a_sweep_on_a_terminal(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    assert run_sweep(grid("lfq", out=tmp_path)) == 0
    assert "1 done" in said.getvalue() and "lfq K=16" in said.getvalue()


def test_last_line_of_nothing(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == {}
