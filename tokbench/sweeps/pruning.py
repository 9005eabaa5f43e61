"""A trial while it trains: what it reaches on the validation images, and whether it is worth going on."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError
from tokbench.results.locks import locked
from tokbench.sweeps.settings import Pruner

if TYPE_CHECKING:
    import optuna

    from tokbench.config.recipe import TokenizerRecipe
    from tokbench.training.task import Task

RUNGS = 4  # of so many equal parts of a run's steps all but the last end with a look
PRUNED = "pruned at step"


class Pruned(TokbenchError):
    """A trial that its study gives up, in one line."""


@dataclass(frozen=True)
class TrialRef:
    """One trial, by where its study is kept. ``metric`` is what it is about, ``higher`` whether more is better."""

    storage: str
    study: str
    number: int
    metric: str
    higher: bool
    pruner: Pruner

    def look(self, recipe: TokenizerRecipe) -> Any:
        """What training is to call after each step: measures at every rung and raises ``Pruned``, also where the metric
        has no value."""
        steps = recipe.training.steps
        rungs = {steps * part // RUNGS for part in range(1, RUNGS)} - {0}

        def look(step: int, task: Task) -> None:
            if step in rungs and self.pruner != "none":
                self._report(step, recipe, task)

        return look

    def _report(self, step: int, recipe: TokenizerRecipe, task: Any) -> None:
        import optuna

        from tokbench.data import open_split
        from tokbench.metrics import evaluate_tokenizer

        study = open_study(Path(self.storage), self.study, self.higher, self.pruner)
        known = study.get_trials(deepcopy=False)[self.number]
        if step in known.intermediate_values:  # an interrupted run was here before
            value = known.intermediate_values[step]
        else:
            images = open_split(recipe.data, "eval")
            found = evaluate_tokenizer(
                task.result(), images, metrics=[self.metric], by_depth=False, batch_size=recipe.evaluation.batch_size
            )
            reached = found.metrics[self.metric].value
            value = math.nan if reached is None else reached  # 0 would be the best of what is to be low
        trial = optuna.trial.Trial(study, known._trial_id)
        if step not in known.intermediate_values:
            trial.report(value, step)
        if math.isnan(value) or trial.should_prune():
            raise Pruned(f"{PRUNED} {step} of {recipe.training.steps}: {self.metric} {value:.4g} on validation images")


def open_study(path: Path, name: str, higher: bool, pruner: Pruner) -> optuna.study.Study:
    """The study of that name in a journal, begun where there is none.

    Raises TokbenchError without Optuna, and for a journal that cannot be read.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise TokbenchError("--tune needs Optuna: pip install 'tokbench[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruners: dict[Pruner, optuna.pruners.BasePruner] = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=4),
        "hyperband": optuna.pruners.HyperbandPruner(),
        "none": optuna.pruners.NopPruner(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(_lock_of(path)):
            _end_last_line(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))  # type: ignore[arg-type]
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize" if higher else "minimize",
            pruner=pruners[pruner],
            load_if_exists=True,
        )
    except OSError as error:
        raise TokbenchError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TokbenchError(f"{path}: is not Optuna's journal any more ({error}); move it away to tune anew") from None


class _Lock:
    """Optuna's lock as ours: it ends with the process that holds it."""

    def __init__(self, path: Path) -> None:
        self.path, self.held = path, ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(locked(_lock_of(self.path)))
        return True

    def release(self) -> None:
        self.held.close()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _end_last_line(path: Path) -> None:
    """Take away half a line that a killed process left: whatever is written behind it could not be read."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
