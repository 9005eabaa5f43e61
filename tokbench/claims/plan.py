"""From a claim, a scale, data and seeds to its cells: what was asked, and the sweeps' plan that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokbench.bench.sampling_cells import BenchCell, bench_cells
from tokbench.claims.conditions import PART, condition_plan, given
from tokbench.claims.definition import Claim, ScaleName
from tokbench.claims.evidence import Request, RequestedCell
from tokbench.claims.follow_ups import FollowUp, follow_ups
from tokbench.errors import TokbenchError
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.tune import FOLDER, JOURNAL, trial_cells, tuned_plan


@dataclass
class ClaimPlan:
    """All cells of a claim, each once, and which part asked for them."""

    asked: Request
    plan: Plan
    benches: list[BenchCell]
    follow_ups: list[FollowUp]


def plan_claim(
    claim: Claim,
    scale: ScaleName,
    work: Path,
    *,
    data: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    costing: bool = False,
    cpu: bool = False,
) -> ClaimPlan:
    """The cells of a claim.

    Args:
        work: the folder of cells and records that all claims share.
        data: in place of every recipe's ``data.source``.
        costing: for counting only: images that are not at hand are not asked for their classes.
        cpu: a budget's seconds are of the CPU where there is a GPU.

    Raises TokbenchError when nothing of it is possible.
    """
    settings = claim.at(scale)
    parts: dict[str, list[RequestedCell]] = {}
    trained: dict[str, list[Cell]] = {}
    plans: list[Plan] = []
    impossible: list[tuple[str, str]] = []
    condition = condition_plan(settings, work, data, cpu)
    if condition is not None:
        plans.append(condition)
        parts[PART] = [_asked(PART, cell) for cell in condition.cells]
    for part, sweeps in settings.sweeps.items():
        cells: list[Cell] = []
        for sweep in sweeps:
            try:
                own = given(as_given(sweep, work, data, seeds, costing), condition, work, costing)
                plan = _planned(own, costing, cpu)
            except TokbenchError as error:
                impossible.append((part, str(error)))
                continue
            plans.append(plan)
            cells += plan.cells
        trained[part] = cells
        parts[part] = [_asked(part, cell) for cell in {cell.key: cell for cell in cells}.values()]
    benches = []
    for part, bench in settings.bench.items():
        found = bench_cells(bench, seeds)
        benches += found
        parts[part] = [_asked(part, cell) for cell in found]
    further = follow_ups(settings, trained)
    parts |= {part: [_asked(part, cell) for cell in own] for part, own in further.items()}
    merged = _merged(plans)
    impossible += merged.impossible
    if not any(parts.values()):
        raise TokbenchError(f"claim {claim.name}: nothing of it is possible: {'; '.join(why for _, why in impossible)}")
    request = Request(claim=claim.name, scale=scale, data=data, seeds=list(seeds), parts=parts, impossible=impossible)
    different = {cell.key: cell for own in further.values() for cell in own}
    return ClaimPlan(request, merged, benches, list(different.values()))


def _planned(sweep: SweepSettings, costing: bool, cpu: bool) -> Plan:
    """What a sweep runs; of one that tunes, the best settings that its trials have found.

    ``costing``: where no trial has begun, as many cells as there will be, and the start in place of the best: they
    cost about the same. Raises TokbenchError when nothing of it is possible, or no trial has begun.
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


def _asked(part: str, cell: Cell | BenchCell | FollowUp) -> RequestedCell:
    seed = cell.seed if isinstance(cell, BenchCell | FollowUp) else cell.recipe.seed
    return RequestedCell(cell=cell.key, label=f"{part}: {cell.label}", seed=seed)


def as_given(
    sweep: SweepSettings, work: Path, data: str | None, seeds: Sequence[int], costing: bool = False
) -> SweepSettings:
    """The sweep on these images and seeds. What the command says comes last and wins."""
    more = [f"data.source={data}"] if data is not None else []
    unconditional = ["generator.class_conditional=false"] if costing and sweep.generator else []
    update = {
        "out": str(work),
        "set": [*sweep.set, *more],
        "seed": list(seeds),
        "set_generator": [*sweep.set_generator, *unconditional],
    }
    return sweep.model_copy(update=update)


def _merged(plans: Sequence[Plan]) -> Plan:
    """One plan of several: what any of them has to do is to do."""
    tokenizers: dict[str, TokenizerCell] = {}
    generators: dict[str, GeneratorCell] = {}
    impossible: dict[str, str] = {}
    done: set[str] = set()
    redone: set[str] = set()
    for plan in plans:
        for cell in plan.tokenizers:
            tokenizers.setdefault(cell.key, cell)
        for made in plan.generators:
            generators.setdefault(made.key, made)
        impossible |= dict(plan.impossible)
        done |= plan.done
        redone |= plan.redone
    return Plan(list(tokenizers.values()), list(generators.values()), list(impossible.items()), done - redone, redone)
