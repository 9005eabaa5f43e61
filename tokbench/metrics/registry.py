"""Every metric declares its name once; the modules of this package are found by themselves."""

from __future__ import annotations

from typing import TypeVar

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
    """The metric of that name; an unknown name is an error that says what was meant."""
    return METRICS.get(name)
