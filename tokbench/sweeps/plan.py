"""What a sweep has to do: its cells in order, which are done, which are impossible, and what they will cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import JustifyMethod

from tokbench.errors import TokbenchError, counted
from tokbench.models.unweighted import unweighted
from tokbench.printing import print_fitted, terminal
from tokbench.results.store import Store
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.estimate import Estimates
from tokbench.sweeps.generating import GeneratorCell, generator_cells
from tokbench.sweeps.grid import TokenizerCell, tokenizer_cells
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.stages import model_folder
from tokbench.training.checks import check_data, check_recipe, check_weights
from tokbench.training.progress import duration


@dataclass
class Plan:
    """Cells in the order they run: each tokenizer, then its generators."""

    tokenizers: list[TokenizerCell]
    generators: list[GeneratorCell]
    impossible: list[tuple[str, str]]
    done: set[str] = field(default_factory=set)  # keys
    redone: set[str] = field(default_factory=set)  # recorded, but what later cells need of them is not there any more

    @classmethod
    def make(cls, settings: SweepSettings, again: bool = False, cpu: bool = False) -> Plan:
        """``cpu``: a budget's seconds are of the CPU where there is a GPU.

        Raises TokbenchError when nothing of the sweep is possible."""
        out = Path(settings.out)
        tokenizers, impossible = tokenizer_cells(settings, cpu)
        generators, impossible_too = generator_cells(settings, tokenizers)
        return cls(tokenizers, generators, impossible + impossible_too).less_done(out, again)

    def less_done(self, out: Path, again: bool = False) -> Plan:
        """Itself, with ``done`` and ``redone`` by the records in ``out``."""
        keys = {cell.key for cell in self.cells}
        if again:
            self.redone = keys
            return self
        self.done = Store(out / "runs.jsonl").cells() & keys
        waiting = {cell.tokenizer.key: cell.tokenizer for cell in self.generators if cell.key not in self.done}
        self.redone = {k for k, cell in waiting.items() if k in self.done and model_folder(cell, out) is None}
        self.done -= self.redone
        return self

    @property
    def cells(self) -> list[Cell]:
        """All of them."""
        of: dict[str, list[GeneratorCell]] = {}
        for cell in self.generators:
            of.setdefault(cell.tokenizer.key, []).append(cell)
        return [part for cell in self.tokenizers for part in (cell, *of.get(cell.key, ()))]


_COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("cell", "left"), ("what", "left"), ("bits/image", "right"), ("bpp", "right"), ("parameters", "right"),
    ("steps", "right"), ("time", "right"), ("state", "left"),
)  # fmt: skip
_DISPENSABLE = ("cell", "parameters", "steps", "bpp", "bits/image")


def print_plan(plan: Plan, out: Path) -> None:
    """The cells with rate, parameters and estimated time; which are done, which are impossible."""
    estimates = Estimates(Store(out / "runs.jsonl").read())
    rows: list[tuple[str, ...]] = []
    total, unknown = 0.0, 0
    for cell in plan.cells:
        rate = _rate(cell)
        state = "done" if cell.key in plan.done else "to run"
        seconds, about = estimates.of(cell)
        if state == "to run":
            total, unknown = total + (seconds or 0.0), unknown + (seconds is None)
        row = (
            cell.key,
            cell.label,
            f"{rate['bits_per_image']:,.0f}",
            f"{rate['bits_per_pixel']:.4g}",
            f"{cell.parameters if isinstance(cell, GeneratorCell) else check_recipe(cell.recipe):,}",
            f"{cell.recipe.training.steps:,}",
            "-" if seconds is None else about + duration(seconds),
            state,
        )
        rows.append(row)
    console = terminal()
    print_fitted(console, _COLUMNS, rows, _DISPENSABLE)
    for label, why in plan.impossible:
        console.print(f"skipped {label}: {why}")
    for label, why in _failing(plan):
        console.print(f"would fail {label}: {why}")
    waiting = len(plan.cells) - len(plan.done)
    if waiting:
        # A guess from a count of operations would be off by several times on a machine nobody timed.
        known = f"about {duration(total)} one after another" if total else "unknown"
        rest = f"; nothing alike was timed for {unknown} of them (-)" if total and unknown else ""
        console.print(
            f"{counted(waiting, 'cell')} to run, time {known}{rest}. Times are from the records in {out} made on this "
            "machine (~: of another quantizer in the same recipe); nothing was timed for this.",
            soft_wrap=True,
        )


def _failing(plan: Plan) -> list[tuple[str, str]]:
    """(label, why) of the cells that could not train on this machine: their data, the weights of their losses."""
    found: list[tuple[str, str]] = []
    known: dict[str, str] = {}
    for cell in plan.tokenizers:
        if cell.key in plan.done:
            continue
        recipe = cell.recipe
        asked = repr((recipe.data, recipe.loss.perceptual.net, recipe.loss.logits, recipe.training.batch_size))
        if asked not in known:
            try:
                check_weights(recipe)
                check_data(recipe)
                known[asked] = ""
            except TokbenchError as error:
                known[asked] = str(error)
        if known[asked]:
            found.append((cell.label, known[asked]))
    return found


def _rate(cell: Cell) -> dict[str, Any]:
    recipe = cell.tokenizer.recipe if isinstance(cell, GeneratorCell) else cell.recipe
    return unweighted(recipe.tokenizer).rate()
