"""What is seen while a sweep runs: on a terminal a live table, elsewhere a line for each thing that happens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tokbench.errors import visible
from tokbench.sweeps.cell import Cell, folder_of, stage_of
from tokbench.sweeps.stages import newest_run
from tokbench.training.progress import duration

_STYLES = {"failed": "red", "done": "green", "running": "bold", "not run": "yellow"}
_VALUES = ("loss", "psnr", "held_out_bits_per_code", "held_out_bound_bits_per_code")  # of the training log


@dataclass
class _Row:
    cell: Cell
    number: int
    state: str = "waiting"
    began: float = 0.0
    took: float = 0.0
    step: int = 0
    pace: float = 0.0  # seconds a step, once known
    said: str = ""


class Progress:
    """A context manager; every change goes through ``start`` and ``end``. Stages and steps are read from the cells'
    folders, so that it makes no difference which process works on them."""

    def __init__(self, cells: Sequence[Cell], out: Path, console: Console, *, watch: bool = False) -> None:
        self.out, self.console = out, console
        self.rows = {cell.key: _Row(cell, number) for number, cell in enumerate(cells, 1)}
        self.watch = watch  # cells run elsewhere: their beginning and end are worth a line
        self.live = Live(self, console=console, refresh_per_second=2, transient=False) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def title(self, cell: Cell) -> str:
        """``[2/12] rq K=256 D=4``."""
        return f"[{self.rows[cell.key].number}/{len(self.rows)}] {cell.label}"

    def say(self, text: str, style: str | None = None) -> None:
        """A line of its own."""
        self.console.print(visible(text), style=style, highlight=False, markup=False, soft_wrap=True)

    def stage(self, cell: Cell, name: str) -> None:
        """A cell in this process entered a stage."""
        if self.live is None and name != "train":  # training says what it does itself
            self.say(f"{self.title(cell)}: {name}")

    def start(self, cell: Cell) -> None:
        """A cell begins."""
        row = self.rows[cell.key]
        row.state, row.began = "running", time.monotonic()
        if self.live is None and self.watch:
            self.say(f"{self.title(cell)}: started")

    def end(self, cell: Cell, state: str, said: str = "") -> None:
        """A cell ended: ``done``, ``already`` (with where), ``failed`` (with why), ``not run`` (with why)."""
        row = self.rows[cell.key]
        row.state, row.said = state, said
        row.took = time.monotonic() - row.began if row.began else 0.0
        if self.live is None and (state != "done" or self.watch):
            said = {"done": f"done in {duration(row.took)}", "already": said, "pruned": said}.get(
                state, f"{state}: {said}"
            )
            self.say(f"{self.title(cell)}: {said}", style="red" if state == "failed" else None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts: dict[str, int] = {}
        for row in self.rows.values():
            counts[row.state] = counts.get(row.state, 0) + 1
        table = Table("", "cell", "stage", "step", "", "time", box=None, pad_edge=False)
        room = max(4, (options.max_height or console.height) - 4)
        for row in self._shown(room):
            stage, step, values = self._seen(row)
            clock = time.monotonic() - row.began if row.state == "running" else row.took
            cells = [str(row.number), row.cell.label, stage, step, values, duration(clock) if clock else ""]
            style = _STYLES.get(row.state, "dim")
            table.add_row(*(Text(text, style=style, overflow="ellipsis", no_wrap=True) for text in cells))
        yield table
        left = self._left()
        parts = [f"{number} {state}" for state, number in counts.items()] + ([f"about {left} left"] if left else [])
        yield Text(", ".join(parts), style="dim")

    def _left(self) -> str:
        """Training time left, at each cell's pace or that of the latest one before it; empty while none is known."""
        total = pace = 0.0
        for row in self.rows.values():
            pace = row.pace or pace
            if row.state in ("running", "waiting"):
                total += pace * max(0, row.cell.recipe.training.steps - row.step)
        return duration(total) if total else ""

    def _shown(self, room: int) -> list[_Row]:
        rows = list(self.rows.values())
        if len(rows) <= room:
            return rows
        running = [row for row in rows if row.state == "running"][:room]
        ended = [row for row in rows if row.state not in ("running", "waiting")]
        waiting = [row for row in rows if row.state == "waiting"]
        left = room - len(running)
        last = ended[-max(left // 2, left - len(waiting)) :] if left else []
        shown = [*last, *running, *waiting[: left - len(last)]]
        return sorted(shown, key=lambda row: row.number)

    def _seen(self, row: _Row) -> tuple[str, str, str]:
        """Stage, steps and the latest logged values of a running cell."""
        if row.state != "running":
            return row.state, "", row.said
        home = folder_of(row.cell, self.out)
        stage = stage_of(home) or "starting"
        if stage != "train":
            row.step = row.cell.recipe.training.steps if stage == "evaluate" else 0
            return stage, "", ""
        line = last_line(newest_run(home) / "log.jsonl")
        row.step = int(line.get("step", 0))
        row.pace = line.get("seconds", 0.0) / row.step if row.step else 0.0
        values = "  ".join(f"{name} {line[name]:.4g}" for name in _VALUES if name in line)
        return stage, f"{row.step}/{row.cell.recipe.training.steps}", values


def last_line(path: Path) -> dict[str, float]:
    """The last whole line of a training log; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            for line in reversed(file.read().split(b"\n")):
                if line.strip():
                    try:
                        return dict(json.loads(line))
                    except (ValueError, TypeError):
                        continue
    except OSError:
        pass
    return {}
