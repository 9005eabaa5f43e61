"""What may be tuned of a cell: the settings its quantizer declares open, less those that the sweep itself fixes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quantizers.registry import defaults, tunable
from quantizers.tunable import Between, OneOf, Tunable
from tokbench.config.recipe import TokenizerRecipe

if TYPE_CHECKING:
    import optuna

_DIGITS = 4  # significant ones of a number that is tried: as many as a table can show


@dataclass(frozen=True)
class Space:
    """The open settings of one quantizer, and where each starts: at the recipe's value, else at the default."""

    settings: tuple[Tunable, ...]
    start: dict[str, Any]

    @classmethod
    def of(cls, recipe: TokenizerRecipe, fixed: Iterable[str]) -> Space:
        """``fixed``: settings of quantizers that an option of the sweep gives."""
        options = recipe.quantizer.options
        usual = defaults(recipe.quantizer.name, **options)
        fixed = set(fixed)
        settings: list[Tunable] = []
        start: dict[str, Any] = {}
        for setting in tunable(recipe.quantizer.name, **options):
            known = (options.get(setting.name), usual.get(setting.name), setting.unset)
            value = next((v for v in known if v is not None), None)
            widened = None if setting.name in fixed else _containing(setting, value)
            if widened is not None:
                settings.append(widened)
                start[setting.name] = value
        return cls(tuple(settings), start)

    def described(self) -> list[list[Any]]:
        """As JSON: what makes two searches the same one."""
        ends = [list(s.choices) if isinstance(s, OneOf) else [s.low, s.high, s.scale] for s in self.settings]
        return [[s.name, end, self.start[s.name]] for s, end in zip(self.settings, ends, strict=True)]

    def suggested(self, trial: optuna.trial.Trial) -> dict[str, Any]:
        """The values of a trial: what it has already, else what its study's sampler proposes."""
        return {setting.name: _suggested(setting, trial) for setting in self.settings}

    def changed(self, values: dict[str, Any]) -> dict[str, Any]:
        """What a recipe has to say for them: those that are not where it starts."""
        return {name: value for name, value in values.items() if value != self.start[name]}


def _containing(setting: Tunable, value: Any) -> Tunable | None:
    """The setting with a range that holds ``value``; None where no such range does: what a recipe switches off, or sets
    to something of its own, stays so."""
    if isinstance(setting, OneOf):
        return setting if value in setting.choices else None
    if isinstance(value, bool) or not isinstance(value, int | float) or (setting.scale == "log" and value <= 0):
        return None
    return replace(setting, low=min(setting.low, value), high=max(setting.high, value))


def _suggested(setting: Tunable, trial: optuna.trial.Trial) -> Any:
    if isinstance(setting, OneOf):
        return trial.suggest_categorical(setting.name, setting.choices)
    assert isinstance(setting, Between)
    log = setting.scale == "log"
    if setting.whole:
        return trial.suggest_int(setting.name, int(setting.low), int(setting.high), log=log)
    return float(f"{trial.suggest_float(setting.name, setting.low, setting.high, log=log):.{_DIGITS}g}")
