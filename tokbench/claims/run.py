"""Run what a claim asks for: cells that are not finished, in turn or side by side; then benches."""

from __future__ import annotations

from pathlib import Path

from tokbench.bench.sampling_cells import run_bench
from tokbench.claims.plan import ClaimPlan
from tokbench.printing import terminal
from tokbench.results.store import Store
from tokbench.sweeps.board import Board
from tokbench.sweeps.jobs import run_jobs
from tokbench.sweeps.run import going_on_later, run_in_turn


def run_claim(found: ClaimPlan, work: Path, *, jobs: int = 1, cpu: bool = False) -> int:
    """Finish every cell that is not yet in ``work/runs.jsonl``; how many failed.

    Cells lie in ``work/cells/KEY`` by the content of their recipes, so that claims which ask for the same cell share
    it. What was interrupted continues from its checkpoint. A failed cell is a record that says why.
    """
    console = terminal(stderr=True)
    plan = found.plan
    for label, why in found.asked.impossible:
        console.print(f"skipped {label}: {why}")
    failed = 0
    if plan.cells:
        with going_on_later(console), Board(plan.cells, work, console, watch=jobs > 1) as board:
            for cell in plan.cells:
                if cell.key in plan.done:
                    board.end(cell, "already", "already there")
            if len(plan.done) == len(plan.cells):
                failed = 0
            elif jobs > 1:
                failed = run_jobs(plan, work, board, jobs=jobs, processes=1, again=False, cpu=cpu)
            else:  # without starting Python and torch for every cell
                failed = run_in_turn(plan, work, board, again=False, cpu=cpu)
    store = Store(work / "runs.jsonl")
    done = store.cells()
    for record in run_bench([cell for cell in found.benches if cell.key not in done], cpu=cpu):
        store.append(record)
    return failed
