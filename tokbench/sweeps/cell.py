"""One cell from whatever it has to its record: under its lock, a failure being a result as well."""

from __future__ import annotations

import json
import os
import traceback
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.results.environment import new_id, now, provenance
from tokbench.results.files import write
from tokbench.results.locks import locked
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.cards import measured_card
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell
from tokbench.sweeps.pruning import PRUNED, Pruned, TrialRef
from tokbench.sweeps.settings import cell_folder
from tokbench.sweeps.stages import RunContext, run_stages

Cell = TokenizerCell | GeneratorCell
_JOB_SPEC, _STAGES = "cell.json", "stages.jsonl"


class Outcome(str, Enum):
    """How a cell ended."""

    done = "done"
    already = "already"
    pruned = "pruned"
    failed = "failed"

    @classmethod
    def of(cls, record: Record) -> Outcome:
        """By what its record says; of a trial that was given up the record says so in ``error``."""
        if record.error is None:
            return cls.done
        return cls.pruned if record.error.startswith(PRUNED) else cls.failed


def finish_cell(cell: Cell, context: RunContext, *, redo: bool = False, lock: bool = True) -> tuple[Outcome, str]:
    """Run what is missing of a cell and append its record: how it ended, and why where it failed.

    Args:
        redo: although there is a record (``--again``, or a tokenizer whose folder is gone).
        lock: hold the cell's lock; a process whose parent holds it must not.
    """
    if not lock:
        return _finish(cell, context)
    with locked(lock_of(cell, context.out), waiting=lambda: context.stage("wait for another process")):
        # While we waited, another process may have finished it.
        if not redo and Store(context.out / "runs.jsonl").find(cell.key):
            return Outcome.already, ""
        return _finish(cell, context)


def _finish(cell: Cell, context: RunContext) -> tuple[Outcome, str]:
    home = folder_of(cell, context.out)
    home.mkdir(parents=True, exist_ok=True)
    try:
        record = run_stages(cell, recording_stages(cell, context))
    except Exception as error:  # one cell's failure is a result; the others go on
        if not _is_main():  # of several processes that train together one says it
            raise
        record = failure(cell, reason(error))
        if not isinstance(error, Pruned):
            write(home / "error.txt", traceback.format_exc())
    if record is None:
        return Outcome.done, ""
    Store(context.out / "runs.jsonl").append(record.replace(experiment=cell.experiment))
    measured_card(record, context.out)
    return Outcome.of(record), record.error or ""


def reason(error: Exception) -> str:
    """An error in one line."""
    return str(error) if isinstance(error, TokbenchError) else f"{type(error).__name__}: {error}"


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def folder_of(cell: Cell, out: Path) -> Path:
    """Everything a cell leaves but its record."""
    return cell_folder(out, cell.key)


def lock_of(cell: Cell, out: Path) -> Path:
    """What is locked while a process works on the cell."""
    return folder_of(cell, out) / ".lock"


def recording_stages(cell: Cell, context: RunContext) -> RunContext:
    """``context`` that also writes down each stage as it begins, with its address, for whoever watches from outside."""
    path = folder_of(cell, context.out) / _STAGES

    def stage(name: str) -> None:
        address = cell.codes_key if name == "encode" and isinstance(cell, GeneratorCell) else cell.key
        line = {"at": now(), "stage": name, "address": address}
        if _is_main():
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        context.stage(name)

    return RunContext(context.out, context.title, context.again, context.cpu, context.quiet, stage)


def stage_of(folder: Path) -> str:
    """The stage a cell is in, as it wrote down itself; empty before the first."""
    try:
        return str(json.loads((folder / _STAGES).read_text().splitlines()[-1])["stage"])
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return ""


def failure(cell: Cell, why: str) -> Record:
    """The record of a cell that could not be finished."""
    tokenizer = cell if isinstance(cell, TokenizerCell) else cell.tokenizer
    model: dict[str, Any] = tokenizer.recipe.model.model_dump(mode="json")
    recipe = cell.recipe.resolved()
    if isinstance(cell, GeneratorCell):
        model, recipe = {"architecture": cell.recipe.generator.name}, cell.recorded()
    return Record.of(
        id=new_id(),
        cell=cell.key,
        experiment=cell.experiment,
        kind="tokenizer" if isinstance(cell, TokenizerCell) else "generator",
        name=cell.recipe.name,
        seed=cell.recipe.seed,
        quantizer=tokenizer.recipe.quantizer.model_dump(),
        model=model,
        **provenance(),
        recipe=recipe,
        error=why,
    )


def write_job_spec(cell: Cell, out: Path) -> None:
    """Write the cell down for a process of its own; ``read_job_spec`` is the inverse."""
    order: dict[str, Any] = {"key": cell.key, "label": cell.label, "recipe": cell.recipe.resolved()}
    if isinstance(cell, TokenizerCell):
        order |= {"trial": asdict(cell.trial) if cell.trial is not None else None, "tuning": cell.tuning}
    if isinstance(cell, GeneratorCell):
        order |= {"tokenizer": cell.tokenizer.key, "passes": cell.passes, "parameters": cell.parameters}
        order |= {"condition": cell.condition, "words": cell.words}
        write_job_spec(cell.tokenizer, out)
    folder_of(cell, out).mkdir(parents=True, exist_ok=True)
    write(folder_of(cell, out) / _JOB_SPEC, json.dumps(order, indent=2) + "\n")


def read_job_spec(key: str, out: Path) -> Cell:
    """The cell that was written down. Raises TokbenchError where none was."""
    path = cell_folder(out, key) / _JOB_SPEC
    try:
        order = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path}: no cell is written down there ({error})") from None
    if "tokenizer" not in order:
        trial = TrialRef(**order["trial"]) if order.get("trial") else None
        plain = TokenizerRecipe.model_validate(order["recipe"])
        return TokenizerCell(plain, key, order["label"], trial, order.get("tuning", {}))
    tokenizer = read_job_spec(order["tokenizer"], out)
    assert isinstance(tokenizer, TokenizerCell)
    recipe = GeneratorRecipe.model_validate(order["recipe"])
    rest = {of: order[of] for of in ("passes", "parameters", "condition", "words") if of in order}
    return GeneratorCell(recipe, key, order["label"], tokenizer, **rest)
