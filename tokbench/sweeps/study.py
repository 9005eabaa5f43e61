"""One search of a tokenizer's open settings, kept by Optuna: which values are tried next, and which were best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.config.address import experiment_settings
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.cell import Outcome
from tokbench.sweeps.grid import TokenizerCell, cell_key
from tokbench.sweeps.pruning import TrialRef, open_study
from tokbench.sweeps.settings import Pruner, Sampler
from tokbench.sweeps.space import Space
from tokbench.training.checks import check_recipe

if TYPE_CHECKING:
    import optuna

_STARTUP = 5  # trials by chance before the sampler learns of them


@dataclass(frozen=True)
class Search:
    """How all tokenizers of a sweep are tuned: alike. ``trials`` is the budget of each."""

    trials: int
    metric: str
    higher: bool
    validation: float | str
    seed: int
    sampler: Sampler
    pruner: Pruner


@dataclass(frozen=True)
class Best:
    """What a study found: the settings that differ from the start, and what they reached on the validation images."""

    changed: dict[str, Any]
    value: float | None
    start: float | None  # what the start reached; None where it failed
    pruned: int
    failed: int


class Study:
    """The trials of one cell (any of its seeds). The same study is the same file's, whoever asks: it can be gone on
    with after an interruption, and with a larger budget. Trial 0 is the settings as they are."""

    def __init__(self, cell: TokenizerCell, space: Space, search: Search, journal: Path) -> None:
        self.cell, self.space, self.search, self.journal = cell, space, search, journal
        how = [search.metric, search.validation, search.seed, search.sampler, search.pruner]
        self.name = content_hash({"recipe": experiment_settings(cell.recipe), "space": space.described(), "how": how})
        self.study = open_study(journal, self.name, search.higher, search.pruner)
        if not self._trials():
            self.study.enqueue_trial(space.start)

    def ask(self, number: int) -> TokenizerCell | None:
        """The cell of trial ``number``; None where that trial is over, or its settings are impossible together."""
        import optuna

        known = self._trials()
        if number < len(known) and known[number].state.is_finished():
            return None
        # A sampler of its own for each trial: what comes next does not depend on having been interrupted.
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        settings = {"n_startup_trials": _STARTUP} if self.search.sampler == "tpe" else {}
        self.study.sampler = samplers[self.search.sampler](seed=self.search.seed + number, **settings)
        if number < len(known) and known[number].state == optuna.trial.TrialState.RUNNING:
            trial = optuna.trial.Trial(self.study, known[number]._trial_id)
        else:
            trial = self.study.ask()
        recipe = self.recipe(self.space.changed(self.space.suggested(trial)))
        label = f"{without_seed(self.cell.label)} trial {number + 1}/{self.search.trials}"
        try:
            check_recipe(recipe)
        except TokbenchError:
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)
            return None
        search = self.search
        ref = TrialRef(str(self.journal.resolve()), self.name, number, search.metric, search.higher, search.pruner)
        return TokenizerCell(recipe, cell_key(recipe), label, ref)

    def tell(self, number: int, record: Record | None) -> None:
        """What came of a trial, by the newest record of its cell."""
        from optuna.trial import TrialState

        metric = None if record is None else record.metrics.get(self.search.metric)
        if record is not None and Outcome.of(record) is Outcome.pruned:
            self.study.tell(number, state=TrialState.PRUNED)
        elif record is None or record.error is not None or metric is None or metric.value is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, metric.value)

    def best(self) -> Best:
        """Of the first ``trials`` trials. Raises TokbenchError where none of them came to an end."""
        from optuna.trial import TrialState

        trials = self._trials()[: self.search.trials]
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not done:
            raise TokbenchError(f"{without_seed(self.cell.label)}: none of its {len(trials)} trials came to an end")
        sign = 1 if self.search.higher else -1
        best = max(done, key=lambda trial: (sign * (trial.value or 0.0), -trial.number))  # what is complete has a value
        counts = {state: sum(t.state == state for t in trials) for state in (TrialState.PRUNED, TrialState.FAIL)}
        return Best(
            changed=self.space.changed(self.space.suggested(_read(best))),
            value=float(best.value or 0.0),
            start=trials[0].value,
            pruned=counts[TrialState.PRUNED],
            failed=counts[TrialState.FAIL],
        )

    def tuned(self, cell: TokenizerCell, best: Best, tuning: dict[str, Any]) -> TokenizerCell:
        """``cell``, one seed of the study's, with the best settings."""
        recipe = with_settings(cell.recipe, best.changed)
        chosen = " ".join(f"{name}={value}" for name, value in best.changed.items())
        label = f"{cell.label} tuned" + (f" ({chosen})" if chosen else "")
        return replace(cell, recipe=recipe, key=cell_key(recipe), label=label, tuning=tuning)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def recipe(self, changed: dict[str, Any]) -> TokenizerRecipe:
        """What a trial trains: on the other training images, measured on the validation images alone."""
        recipe = with_settings(self.cell.recipe, changed)
        data = recipe.data.model_copy(update={"validation": self.search.validation})
        evaluation = recipe.evaluation.model_copy(update={"metrics": [self.search.metric], "by_depth": False})
        return recipe.model_copy(update={"seed": self.search.seed, "data": data, "evaluation": evaluation})


def _read(trial: optuna.trial.FrozenTrial) -> Any:
    """A finished trial to read the settings of."""
    import optuna

    return optuna.trial.FixedTrial(trial.params)


def without_seed(label: str) -> str:
    """A cell's label for all its seeds together."""
    return " ".join(word for word in label.split(" ") if not word.startswith("seed="))


def with_settings(recipe: TokenizerRecipe, changed: dict[str, Any]) -> TokenizerRecipe:
    """The recipe with other settings of its quantizer."""
    plain = recipe.resolved()
    return TokenizerRecipe.model_validate({**plain, "quantizer": {**plain["quantizer"], **changed}})
