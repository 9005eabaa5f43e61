"""One call of ``tokbench claims``: for each claim plan, run, judge, write; or only count what it would cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tokbench.bench.sampling_cells import run_bench
from tokbench.claims.conditions import condition_plan
from tokbench.claims.cost import ASSUMPTION, Cost, costs
from tokbench.claims.definition import Claim, ScaleName
from tokbench.claims.evidence import Evidence, Request
from tokbench.claims.follow_ups import run_follow_ups
from tokbench.claims.page import print_result, write_pages
from tokbench.claims.plan import ClaimPlan, as_given, plan_claim
from tokbench.claims.results import asked_before, judge, save, stored
from tokbench.errors import TokbenchError, counted
from tokbench.printing import terminal
from tokbench.results.store import Store
from tokbench.results.targets import check_writable
from tokbench.sweeps.plan import Plan, print_plan
from tokbench.sweeps.run import finish
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.tune import finish_tuned

SEEDS = (0, 1, 2)
HOME, README = Path("results/claims"), Path("README.md")  # of the project


@dataclass
class Session:
    """The options of the command."""

    scale: ScaleName
    data: str | None
    seeds: Sequence[int] | None
    out: Path
    work: Path
    jobs: int
    cpu: bool
    console: Console

    def run(self, claim: Claim) -> int:
        """Train what is missing, then judge; how many cells failed."""
        Store(self.work / "runs.jsonl").check()
        check_writable(self.out / claim.name / "README.md")
        found = self._plan(claim)
        self.console.rule(f"{claim.name}, {self.scale} scale", style="dim")
        if any([self._condition(claim), self._tune(claim)]):
            found = self._plan(claim)
        failed = self._finish(found)
        self._conclude(claim, found.asked)
        return failed

    def judge(self, claim: Claim) -> int:
        """Judge from the records in the work folder and those beside the page; nothing is trained.

        Without data and seeds of its own the call is about what was asked before.
        """
        before = asked_before(claim, self.scale, self.out)
        asked = before if before and self.data is None and self.seeds is None else self._plan(claim).asked
        self._conclude(claim, asked)
        return 0

    def cost(self, claims: Sequence[Claim]) -> None:
        """Print cells and counted cost of each claim, and of all together, shared cells once."""
        total: dict[str, Cost] = {}
        for claim in claims:
            try:
                found = self._plan(claim, costing=True)
            except TokbenchError as error:
                if len(claims) == 1:
                    raise
                self.console.print(f"{claim.name}: {error}")
                continue
            self.console.rule(f"{claim.name}, {self.scale} scale", style="dim")
            if found.plan.cells:
                print_plan(found.plan, self.work)
            own = dict(zip((cell.key for cell in found.plan.cells), costs(found.plan.cells), strict=True))
            total |= own
            self.console.print(f"{claim.name}: {counted(len(own), 'cell')}{self._hours(own.values())}")
        if len(claims) > 1:
            self.console.print(f"together: {counted(len(total), 'different cell')}{self._hours(total.values())}")
        if self.scale != "cpu":
            self.console.print(ASSUMPTION)

    def _plan(self, claim: Claim, costing: bool = False) -> ClaimPlan:
        seeds = self.seeds or SEEDS
        return plan_claim(claim, self.scale, self.work, data=self.data, seeds=seeds, costing=costing, cpu=self.cpu)

    def _tune(self, claim: Claim) -> bool:
        """Of its tuned parts the trials, then the best and the defaults; whether it has any. What of them fails is the
        plan's to try again and to name; a sweep that cannot be tuned is one line, and the others go on."""
        parts = claim.at(self.scale).sweeps.values()
        sweeps = [
            as_given(sweep, self.work, self.data, self.seeds or SEEDS).model_copy(update={"jobs": self.jobs})
            for part in parts for sweep in part if sweep.tune is not None
        ]  # fmt: skip
        console = terminal(stderr=True)
        for sweep in sweeps:
            try:
                finish_tuned(Plan.make(sweep, cpu=self.cpu), sweep, console, cpu=self.cpu)
            except TokbenchError as error:
                console.print(f"not tuned: {error}")
        return bool(sweeps)

    def _condition(self, claim: Claim) -> bool:
        """Train what its generators are conditioned on; whether there is anything."""
        plan = condition_plan(claim.at(self.scale), self.work, self.data, self.cpu)
        if plan is not None:
            finish(plan, SweepSettings(out=str(self.work)), terminal(stderr=True), cpu=self.cpu)
        return plan is not None

    def _finish(self, found: ClaimPlan) -> int:
        """Every cell that is not yet in ``work/runs.jsonl``, also benches and follow-ups; how many failed.

        Cells lie by the content of their recipes, so that claims which ask for the same cell share it. What was
        interrupted continues from its checkpoint. A failed cell is a record that says why.
        """
        console, plan = terminal(stderr=True), found.plan
        for label, why in found.asked.impossible:
            console.print(f"skipped {label}: {why}")
        settings = SweepSettings(out=str(self.work), jobs=self.jobs)
        failed = finish(plan, settings, console, cpu=self.cpu) if plan.cells else 0
        store = Store(self.work / "runs.jsonl")
        done = store.cells()
        for record in run_bench([cell for cell in found.benches if cell.key not in done], cpu=self.cpu):
            store.append(record)
        missing = [cell for cell in found.follow_ups if cell.key not in done]
        failed += len(missing)
        for record in run_follow_ups(missing, self.work, console.print, cpu=self.cpu):
            store.append(record)
            failed -= 1
        return failed

    def _conclude(self, claim: Claim, asked: Request) -> None:
        # Of two records of a cell the newer counts.
        records = [*stored(claim, self.scale, self.out), *Store(self.work / "runs.jsonl").read()]
        result = judge(Evidence.of(claim, asked, sorted(records, key=lambda record: record.created)))
        print_result(result, self.console)
        save(result, self.out, self.work)
        write_pages(self.out, README if self.out == HOME else None, [claim])
        self.console.print(f"page {self.out / claim.name / 'README.md'}")

    def _hours(self, found: Iterable[Cost]) -> str:
        if self.scale == "cpu":  # there the times of cells like these on this machine say more
            return ""
        own = list(found)
        flops, hours = sum(cost.flops for cost in own), sum(cost.hours for cost in own)
        time = f"{hours:,.1f} GPU hours" if hours >= 0.1 else f"{hours * 3600:,.0f} GPU seconds"
        return f", {flops:.3g} FLOPs, {time}"
