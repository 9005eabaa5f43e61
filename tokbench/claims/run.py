"""Run what a claim asks for: cells that are not finished, in turn or side by side; then benches."""

from __future__ import annotations

from pathlib import Path

from tokbench.bench.sampling_cells import run_bench
from tokbench.claims.plan import ClaimPlan
from tokbench.printing import terminal
from tokbench.results.store import Store
from tokbench.sweeps.run import finish
from tokbench.sweeps.settings import SweepSettings


def run_claim(found: ClaimPlan, work: Path, *, jobs: int = 1, cpu: bool = False) -> int:
    """Finish every cell that is not yet in ``work/runs.jsonl``; how many failed.

    Cells lie in ``work/cells/KEY`` by the content of their recipes, so that claims which ask for the same cell share
    it. What was interrupted continues from its checkpoint. A failed cell is a record that says why.
    """
    console = terminal(stderr=True)
    plan = found.plan
    for label, why in found.asked.impossible:
        console.print(f"skipped {label}: {why}")
    failed = finish(plan, SweepSettings(out=str(work), jobs=jobs), console, cpu=cpu) if plan.cells else 0
    store = Store(work / "runs.jsonl")
    done = store.cells()
    for record in run_bench([cell for cell in found.benches if cell.key not in done], cpu=cpu):
        store.append(record)
    return failed
