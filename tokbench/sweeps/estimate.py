"""How long a cell will take, from what cells like it took on this machine; never from a guess."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from tokbench.config.address import without_reporting
from tokbench.results.environment import content_hash, describe
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell


class Estimates:
    """Seconds of a step and of an evaluation, by what decides them."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.known: dict[str, list[tuple[float, float]]] = {}
        here = _machine(describe())
        for record in records:
            seconds, steps = record.training.get("seconds"), record.training.get("steps")
            if record.error or not record.recipe or not seconds or not steps or _machine(record.environment) != here:
                continue
            other = float(record.timing.get("seconds") or 0) + float(record.training.get("encoding_seconds") or 0)
            try:
                for exactly in (True, False):
                    self.known.setdefault(_work(record.recipe, exactly), []).append((seconds / steps, other))
            except (KeyError, TypeError, AttributeError):  # a record of another tokbench
                continue

    def of(self, cell: Cell) -> tuple[float | None, str]:
        """Seconds for all stages of a cell, and ``"~"`` where they are those of another quantizer; None: unknown."""
        recipe = cell.recorded() if isinstance(cell, GeneratorCell) else cell.recipe.resolved()
        for exactly in (True, False):
            found = self.known.get(_work(recipe, exactly))
            if found:
                step, other = (median(values) for values in zip(*found, strict=True))
                return step * cell.recipe.training.steps + other, "" if exactly else "~"
        return None, ""


def _machine(environment: dict[str, Any]) -> Any:
    # A record made before torch had looked for GPUs says none; so does a machine that has none.
    return environment.get("cpu"), environment.get("cores"), environment.get("gpus")


def _work(recipe: dict[str, Any], exactly: bool) -> str:
    """A hash of what decides how long a step takes; ``exactly``: the quantizer too."""
    settings = _stage(recipe, exactly)
    if isinstance(recipe.get("tokenizer"), dict):
        settings["tokenizer"] = _stage(recipe["tokenizer"], exactly)
    return content_hash(settings)


def _stage(recipe: dict[str, Any], exactly: bool) -> dict[str, Any]:
    settings = without_reporting(recipe)
    settings.pop("seed", None)
    # Neither how many steps there are nor how the rate decays changes what one costs.
    for key in ("steps", "warmup_steps", "schedule", "learning_rate", "final_learning_rate", "betas"):
        settings["training"].pop(key, None)
    if not exactly:
        settings.pop("quantizer", None)
    return settings
