"""Every metric declares its name once; the modules of this package are found by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tokbench.config.grid import Size
from tokbench.config.kind import Kind
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


def default_metrics(
    size: Size | None, task: str = "reconstruction", kind: Kind = "image", source: str = ""
) -> list[str]:
    """The usual metrics that can be computed here: no weights missing, images large enough; None: any images.

    ``source``: a spec string, of a data source that may have metrics of its own.
    """
    chosen = [get(name) for name in names(task)]
    usual = [metric for metric in chosen if metric.default and (size is not None or 2 in metric.axes)]
    return [metric.name for metric in usual if metric.no_value(size, kind, source) is None]


def wanted_metrics(metrics: Sequence[str] | None, size: Size, kind: Kind, source: str) -> dict[str, Metric]:
    """Metrics of reconstructions by name, by default the usual ones. Raises TokbenchError for others."""
    chosen = list(metrics) if metrics is not None else default_metrics(size, kind=kind, source=source)
    for name in chosen:
        if "reconstruction" not in get(name).tasks:
            raise TokbenchError(
                f"{name!r} measures generated images, not reconstructions; "
                f"metrics of reconstructions: {', '.join(names('reconstruction'))}"
            )
    return by_name(chosen)
