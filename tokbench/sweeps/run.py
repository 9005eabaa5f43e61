"""Run a sweep: every cell that is not finished, one after another or side by side; then its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tokbench.printing import terminal
from tokbench.results.store import Store
from tokbench.sweeps.cell import Outcome, finish_cell
from tokbench.sweeps.cluster import run_cluster
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.jobs import run_jobs
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.progress import Progress
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.show import show
from tokbench.sweeps.stages import RunContext


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
    plan = Plan.make(settings, again, cpu)
    for label, why in plan.impossible:
        console.print(f"skipped {label}: {why}")
    if settings.tune is not None:
        from tokbench.sweeps.tune import run_tuned  # which ends in this file

        return run_tuned(plan, settings, console, again=again, cpu=cpu)
    failed = finish(plan, settings, console, already="(--again runs it anew)", again=again, cpu=cpu)
    show(plan, out, console, settings.columns)
    return failed


def finish(
    plan: Plan, settings: SweepSettings, console: Console, *, already: str = "", again: bool = False, cpu: bool = False
) -> int:
    """Finish the plan's cells, where the settings say; how many failed. ``already``: what else to say of done ones."""
    out = Path(settings.out)
    elsewhere = settings.jobs > 1 or settings.gpus_per_cell > 1 or settings.cluster is not None
    with _saying_how_to_continue(console), Progress(plan.cells, out, console, watch=elsewhere) as progress:
        for cell in plan.cells:
            if cell.key in plan.done:
                progress.end(cell, "already", f"already in {out / 'runs.jsonl'} {already}".rstrip())
        if len(plan.done) == len(plan.cells):
            return 0
        if settings.cluster is not None:
            return run_cluster(plan, out, progress, settings, again=again, cpu=cpu)
        if elsewhere:
            processes = settings.gpus_per_cell
            return run_jobs(plan, out, progress, jobs=settings.jobs, processes=processes, again=again, cpu=cpu)
        return run_in_turn(plan, out, progress, again=again, cpu=cpu)


@contextmanager
def _saying_how_to_continue(console: Console) -> Iterator[None]:
    """Where it is interrupted, say what to do: finished cells are recorded, the others have their checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues where it stopped")
        raise


def run_in_turn(plan: Plan, out: Path, progress: Progress, *, again: bool, cpu: bool) -> int:
    """Finish the cells one after another in this process; how many failed."""
    failed: set[str] = set()
    for cell in plan.cells:
        if cell.key in plan.done:
            continue
        if isinstance(cell, GeneratorCell) and cell.tokenizer.key in failed:
            failed.add(cell.key)
            progress.end(cell, "not run", "its tokenizer failed")
            continue
        progress.start(cell)

        def stage(name: str, cell: object = cell) -> None:
            progress.stage(cell, name)  # type: ignore[arg-type]

        context = RunContext(out, progress.title(cell), again, cpu, quiet=progress.live is not None, stage=stage)
        outcome, why = finish_cell(cell, context, redo=cell.key in plan.redone)
        if outcome is Outcome.failed:
            failed.add(cell.key)
        progress.end(cell, outcome.value, why)
    return len(failed)
