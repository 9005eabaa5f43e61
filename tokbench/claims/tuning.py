"""Parts of a claim whose quantizers are tuned first: their trials, and what a plan has of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from tokbench.errors import TokbenchError
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.tune import FOLDER, JOURNAL, finish_tuned, trial_cells, tuned_plan


def planned(sweep: SweepSettings, costing: bool = False, cpu: bool = False) -> Plan:
    """What a sweep runs; of one that tunes, the best settings that its trials have found.

    ``costing``: where no trial has begun, as many cells as there will be, and the start in place of the best: they
    cost about the same. ``cpu``: a budget's seconds are of the CPU where there is a GPU.

    Raises TokbenchError when nothing of it is possible, or no trial has begun.
    """
    if sweep.tune is None:
        return Plan.make(sweep, cpu=cpu)
    journal = Path(sweep.out) / FOLDER / JOURNAL
    if journal.exists():
        return tuned_plan(sweep, cpu).less_done(Path(sweep.out))
    if not costing:
        raise TokbenchError(f"nothing was tuned in {journal.parent} yet")
    plan = Plan.make(sweep, cpu=cpu)
    plan.tokenizers = [*trial_cells(plan.tokenizers, sweep), *plan.tokenizers]
    return plan


def run_trials(sweeps: Iterable[SweepSettings], console: Console, *, cpu: bool) -> None:
    """Tune, then train the best and the defaults: what of them fails is the plan's to try again and to name. A sweep
    that cannot be tuned is one line, and the others go on."""
    for sweep in sweeps:
        try:
            finish_tuned(Plan.make(sweep, cpu=cpu), sweep, console, cpu=cpu)
        except TokbenchError as error:
            console.print(f"not tuned: {error}")
