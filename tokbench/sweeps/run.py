"""Run a sweep: every cell that is not finished, one after another or side by side; then its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tokbench.printing import terminal
from tokbench.results.store import Store
from tokbench.sweeps.board import Board
from tokbench.sweeps.cell import Outcome, finish_cell
from tokbench.sweeps.cluster import run_cluster
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.jobs import run_jobs
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.show import show
from tokbench.sweeps.stages import Place


def run_sweep(settings: SweepSettings, *, again: bool = False, cpu: bool = False) -> int:
    """Finish every cell that is not yet in ``out/runs.jsonl`` and print the table. Returns how many failed.

    Each cell trains in ``out/cells/KEY``; one that was interrupted continues from its checkpoint.

    Args:
        settings: the grid, and whether its cells run one after another in this process, side by side or on a cluster.
        again: run recorded cells too, beside the folders they have.
        cpu: stay on the CPU where there is a GPU.

    Raises TokbenchError when nothing of the sweep is possible.
    """
    console, out = terminal(stderr=True), Path(settings.out)
    Store(out / "runs.jsonl").check()
    plan = Plan.make(settings, again)
    for label, why in plan.impossible:
        console.print(f"skipped {label}: {why}")
    elsewhere = settings.jobs > 1 or settings.gpus_per_cell > 1 or settings.cluster is not None
    with going_on_later(console), Board(plan.cells, out, console, watch=elsewhere) as board:
        for cell in plan.cells:
            if cell.key in plan.done:
                board.end(cell, "already", f"already in {out / 'runs.jsonl'} (--again runs it anew)")
        if len(plan.done) == len(plan.cells):
            failed = 0
        elif settings.cluster is not None:
            failed = run_cluster(plan, out, board, settings, again=again, cpu=cpu)
        elif elsewhere:
            failed = run_jobs(
                plan, out, board, jobs=settings.jobs, processes=settings.gpus_per_cell, again=again, cpu=cpu
            )
        else:
            failed = run_in_turn(plan, out, board, again=again, cpu=cpu)
    show(plan, out, console)
    return failed


@contextmanager
def going_on_later(console: Console) -> Iterator[None]:
    """Where it is interrupted, say what to do: finished cells are recorded, the others have their checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues where it stopped")
        raise


def run_in_turn(plan: Plan, out: Path, board: Board, *, again: bool, cpu: bool) -> int:
    """Finish the cells one after another in this process; how many failed."""
    failed: set[str] = set()
    for cell in plan.cells:
        if cell.key in plan.done:
            continue
        if isinstance(cell, GeneratorCell) and cell.tokenizer.key in failed:
            failed.add(cell.key)
            board.end(cell, "not run", "its tokenizer failed")
            continue
        board.start(cell)

        def stage(name: str, cell: object = cell) -> None:
            board.stage(cell, name)  # type: ignore[arg-type]

        place = Place(out, board.title(cell), again, cpu, quiet=board.live is not None, stage=stage)
        outcome, why = finish_cell(cell, place, redo=cell.key in plan.redone)
        if outcome is Outcome.failed:
            failed.add(cell.key)
        board.end(cell, outcome.value, why)
    return len(failed)
