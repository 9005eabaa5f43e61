"""``tokbench sweep --tune N``: N trials for the open settings of every tokenizer, then the best of each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from tokbench import metrics
from tokbench.config.data import DataConfig
from tokbench.errors import TokbenchError
from tokbench.printing import terminal
from tokbench.results.environment import new_id
from tokbench.results.locks import alone
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.cell import folder_of
from tokbench.sweeps.generating import generator_cells
from tokbench.sweeps.grid import TokenizerCell, by_quantizer
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.run import finish
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.show import show
from tokbench.sweeps.space import Space
from tokbench.sweeps.stages import tuned
from tokbench.sweeps.study import Best, Search, Study, without_seed
from tokbench.training.checks import check_data

FOLDER, JOURNAL = "tuning", "studies.journal"
_SHARE, _SEED = 0.1, 1000  # of the training images, and the first seed of trials: those of the finals are others


def run_tuned(plan: Plan, settings: SweepSettings, console: Console, *, again: bool = False, cpu: bool = False) -> int:
    """``finish_tuned`` and the table of the best; how many cells failed."""
    best, failed = finish_tuned(plan, settings, console, again=again, cpu=cpu)
    show(best, Path(settings.out), console, settings.columns)
    return failed


def finish_tuned(
    plan: Plan, settings: SweepSettings, console: Console, *, again: bool = False, cpu: bool = False
) -> tuple[Plan, int]:
    """Tune the plan's tokenizers, train the best and the defaults on all training images.

    Returns the plan of the best and how many cells failed; a trial that fails is one of the budget and no failure.
    Trials and their studies lie in ``out/tuning``; the same command goes on with them where it stopped.

    Raises TokbenchError when what was asked for cannot be tuned.
    """
    out = Path(settings.out)
    home = out / FOLDER
    with alone(home / ".lock", f"{home}: another process is tuning there; wait for it, or choose another --out"):
        studies = _studies(plan.tokenizers, settings, home / JOURNAL, console)
        _try(list(studies.values()), settings, home, console, cpu)
    failed = finish(_tokenizers_of(plan), settings, console, again=again, cpu=cpu)
    best = _best_plan(plan, studies, settings, console).less_done(out, again)
    failed += finish(best, settings, console, again=again, cpu=cpu)
    _note(best.tokenizers, Store(out / "runs.jsonl"))
    return best, failed


def tuned_plan(settings: SweepSettings, cpu: bool = False) -> Plan:
    """The cells that ``run_tuned`` ended with, from what lies in ``out``."""
    console = Console(quiet=True)
    plan = Plan.make(settings, cpu=cpu)
    studies = _studies(plan.tokenizers, settings, Path(settings.out) / FOLDER / JOURNAL, console)
    return _best_plan(plan, studies, settings, console)


def _best_plan(plan: Plan, studies: dict[str, Study], settings: SweepSettings, console: Console) -> Plan:
    out = Path(settings.out)
    found = [_best(cell, studies.get(cell.experiment), out, console) for cell in plan.tokenizers]
    return Plan(found, generator_cells(settings, found)[0], [])


def print_tuning(cells: Sequence[TokenizerCell], settings: SweepSettings) -> None:
    """What ``--dry-run`` adds of a sweep that tunes: every tokenizer's open settings with their ranges."""
    search, spaces = _spaces(cells, settings)
    console = terminal()
    first = _first(cells)
    for experiment, space in spaces.items():
        said = "; ".join(f"{name} {ends}, now {start}" for name, ends, start in space.described())
        label = without_seed(first[experiment].label)
        console.print(f"{label}: {search.trials if said else 0} trials of {said or 'nothing'}", soft_wrap=True)


def _studies(
    cells: Sequence[TokenizerCell], settings: SweepSettings, journal: Path, console: Console
) -> dict[str, Study]:
    """By experiment; none of those of which nothing is open. Raises TokbenchError as ``_spaces`` does, and where there
    are no such validation images."""
    search, spaces = _spaces(cells, settings)
    first = _first(cells)
    found: dict[str, Study] = {}
    checked: set[DataConfig] = set()
    for experiment, space in spaces.items():
        if not space.settings:
            console.print(f"{without_seed(first[experiment].label)}: no open settings; it is trained as it is")
            continue
        study = found[experiment] = Study(first[experiment], space, search, journal)
        trial = study.recipe({})
        if trial.data not in checked:
            check_data(trial)
            checked.add(trial.data)
    return found


def _spaces(cells: Sequence[TokenizerCell], settings: SweepSettings) -> tuple[Search, dict[str, Space]]:
    """By experiment. Raises TokbenchError for a budget that is too small, and where nothing is open."""
    search = _search(cells, settings)
    common, own = by_quantizer(settings.set)
    spaces = {}
    for cell in cells:
        given = (*common, *own.get(cell.recipe.quantizer.name, ()), *settings.vary)
        fixed = [text.partition("=")[0].strip().removeprefix("quantizer.") for text in given]
        spaces[cell.experiment] = Space.of(cell.recipe, fixed)
    first = _first(cells)
    few = [f"{without_seed(first[e].label)} has {len(s.settings)} open settings" for e, s in spaces.items()]
    few = [text for text, space in zip(few, spaces.values(), strict=True) if len(space.settings) > search.trials]
    if few:
        raise TokbenchError(f"--tune {search.trials} is fewer trials than settings: {'; '.join(few)}")
    if not any(space.settings for space in spaces.values()):
        names = ", ".join(sorted({cell.recipe.quantizer.name for cell in cells}))
        raise TokbenchError(f"--tune: nothing is open of {names}: their files declare no `tunable`, or --set fixes it")
    return search, spaces


def trial_cells(cells: Sequence[TokenizerCell], settings: SweepSettings) -> list[TokenizerCell]:
    """As many as there will be trials, each with the settings of the start: for counting what they cost."""
    search, spaces = _spaces(cells, settings)
    found = []
    for experiment, cell in _first(cells).items():
        for number in range(1, search.trials + 1) if spaces[experiment].settings else ():
            label = f"{without_seed(cell.label)} trial {number}/{search.trials}"
            found.append(replace(cell, key=f"{cell.key}-{number}", label=label))
    return found


def _first(cells: Sequence[TokenizerCell]) -> dict[str, TokenizerCell]:
    """Of each experiment the first of its seeds."""
    return {cell.experiment: cell for cell in reversed(cells)}


def _search(cells: Sequence[TokenizerCell], settings: SweepSettings) -> Search:
    if any(cell.recipe.data.validation is not None for cell in cells):
        raise TokbenchError(
            "--tune: the best are measured on the evaluation images: leave data.validation out, --validation says what "
            "settings are chosen by"
        )
    metric = metrics.get(settings.tune_metric)
    if "reconstruction" not in metric.tasks or metric.direction == "none":
        raise TokbenchError(f"--tune-metric {settings.tune_metric}: neither more nor less of it is better")
    for data in {cell.recipe.data.image_size: cell.recipe.data for cell in cells}.values():
        if (why := metric.no_value(data.image_size, data.kind, data.source)) is not None:
            raise TokbenchError(f"--tune-metric {settings.tune_metric}: it would have no value: {why}")
    seeds = {cell.recipe.seed for cell in cells}
    return Search(
        trials=settings.tune or 0,
        metric=settings.tune_metric,
        higher=metric.direction == "higher",
        validation=_SHARE if settings.validation is None else settings.validation,
        seed=next(seed for seed in range(_SEED, _SEED + len(seeds) + 1) if seed not in seeds),
        sampler=settings.tune_sampler,
        pruner=settings.tune_pruner,
    )


def _try(studies: Sequence[Study], settings: SweepSettings, home: Path, console: Console, cpu: bool) -> None:
    """All trials, one of each study at a time: a study's next depends on those before it."""
    store = Store(home / "runs.jsonl")
    for number in range(settings.tune or 0):
        asked = [(study, cell) for study in studies if (cell := study.ask(number)) is not None]
        if not asked:
            continue
        cells = {cell.key: cell for _, cell in asked}
        plan = Plan(list(cells.values()), [], []).less_done(home, False)
        finish(plan, settings.model_copy(update={"out": str(home)}), console, cpu=cpu)
        newest = {record.cell: record for record in store.read()}
        for study, cell in asked:
            study.tell(number, newest.get(cell.key))
            shutil.rmtree(folder_of(cell, home) / "checkpoints", ignore_errors=True)  # of what is over


def _tokenizers_of(plan: Plan) -> Plan:
    return Plan(plan.tokenizers, [], [], plan.done & {cell.key for cell in plan.tokenizers}, plan.redone)


def _best(cell: TokenizerCell, study: Study | None, out: Path, console: Console) -> TokenizerCell:
    """The cell with the best settings, and what its record is to say of them; itself where nothing was tuned."""
    if study is None:
        return TokenizerCell(cell.recipe, cell.key, cell.label, tuning={"trials": 0})
    search = study.search
    try:
        best = study.best()
    except TokbenchError as error:
        console.print(f"{error}; it is trained as it is")
        best = Best({}, None, None, 0, search.trials)
    usual = Store(out / "runs.jsonl").find(cell.key)
    default = usual.metrics.get(search.metric) if usual is not None else None
    tuning = {
        "trials": search.trials,
        "pruned": best.pruned,
        "failed": best.failed,
        "settings": len(study.space.settings),
        "metric": search.metric,
        "validation": search.validation,
        "seed": search.seed,
        "chosen": best.changed,
        "validation_value": best.value,
        "validation_default": best.start,
        "default": default.value if default is not None else None,
    }
    return study.tuned(cell, best, tuning)


def _note(cells: Sequence[TokenizerCell], store: Store) -> None:
    """Append the records again, with how their settings were chosen, of cells that had one without it or with another:
    where the default is best its cell is the tuned one."""
    for cell in cells:
        record = store.find(cell.key)
        if record is not None and record.training.get("tuning") != cell.tuning:
            store.append(_with_tuning(record, cell.tuning))


def _with_tuning(record: Record, tuning: dict[str, Any]) -> Record:
    return record.replace(id=new_id(), training={**record.training, **tuned(tuning)})
