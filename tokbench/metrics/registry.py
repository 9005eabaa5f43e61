"""Every metric declares its name once; the modules of this package are found by themselves."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

from tokbench.errors import TokbenchError, did_you_mean
from tokbench.metrics.base import Metric
from tokbench.results.definitions import DEFINITIONS

_METRICS: dict[str, Metric] = {}
_discovered = False

M = TypeVar("M", bound=type[Metric])


def register(cls: M) -> M:
    """Class decorator: makes the metric known under ``cls.name``. Two metrics of one name are an error, and so are two
    definitions of one metric, or none."""
    if cls.name in _METRICS:
        raise ValueError(
            f"metric {cls.name!r} is declared twice: {type(_METRICS[cls.name]).__module__}, {cls.__module__}"
        )
    if (cls.name in DEFINITIONS) == ("definition" in vars(cls)):
        raise ValueError(f"metric {cls.name!r} needs one definition: its own, or that in results/definitions.py")
    cls.definition = DEFINITIONS.get(cls.name) or cls.definition
    _METRICS[cls.name] = cls()
    return cls


def _discover() -> None:
    global _discovered
    if not _discovered:
        import tokbench.metrics as package

        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _discovered = True


def names(task: str | None = None) -> list[str]:
    """All metrics, or those that make sense for ``"reconstruction"`` or ``"generation"``, in a stable order."""
    _discover()
    return sorted(name for name, metric in _METRICS.items() if task is None or task in metric.tasks)


def get(name: str) -> Metric:
    """The metric of that name; an unknown name is an error that says what was meant."""
    _discover()
    if name not in _METRICS:
        raise TokbenchError(f"no metric {name!r}{did_you_mean(name, _METRICS)}")
    return _METRICS[name]
