"""Every metric declares its name once; the modules of this package are found by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tokbench.errors import TokbenchError
from tokbench.metrics.base import Metric
from tokbench.registry import Registry
from tokbench.results.definitions import DEFINITIONS

METRICS: Registry[Metric] = Registry("metric", "tokbench.metrics")

M = TypeVar("M", bound=type[Metric])


def register(cls: M) -> M:
    """Class decorator: makes the metric known under ``cls.name``. Two metrics of one name are an error, and so are two
    definitions of one metric, or none."""
    if (cls.name in DEFINITIONS) == ("definition" in vars(cls)):
        raise ValueError(f"metric {cls.name!r} needs one definition: its own, or that in results/definitions.py")
    METRICS.add(cls.name, cls())
    cls.definition = DEFINITIONS.get(cls.name) or cls.definition
    return cls


def names(task: str | None = None) -> list[str]:
    """All metrics, or those that make sense for ``"reconstruction"`` or ``"generation"``, in a stable order."""
    return [name for name in METRICS if task is None or task in METRICS.get(name).tasks]


def get(name: str) -> Metric:
    """The metric of that name, with settings where they follow it (``pfid:alpha=0.25:delta=16``).

    Raises TokbenchError, which says what was meant, for an unknown name or setting.
    """
    own, *given = name.split(":")
    metric = METRICS.get(own)
    return metric.with_settings(_settings(name, given)) if given else metric


def by_name(wanted: Sequence[str]) -> dict[str, Metric]:
    """Metrics asked for, by their names alone. TokbenchError for one that is asked for with two settings."""
    found: dict[str, Metric] = {}
    for metric in map(get, wanted):
        if metric.variant != found.setdefault(metric.name, metric).variant:
            raise TokbenchError(f"{metric.name} is asked for with two settings; measure one at a time")
    return found


def _settings(name: str, given: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        key, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise TokbenchError(f"{name}: {text!r} is not KEY=NUMBER, as in pfid:alpha=0.25:delta=16") from None
        if key.strip() in found:
            raise TokbenchError(f"{name}: {key.strip()} is given twice")
        found[key.strip()] = number
    return found
