"""What a column of a table is, and that of a metric; the others are in ``attributes``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokbench.results.definitions import Direction, heading, shown
from tokbench.results.entries import Entry, Spread, Variant
from tokbench.results.record import Record

Value = float | int | str | None


@dataclass(frozen=True)
class Column:
    """One column. ``key`` is its name in CSV and JSON; ``variant`` is set for a metric."""

    key: str
    label: str
    direction: Direction = "none"
    unit: str = ""
    numeric: bool = True
    digits: int | None = None
    variant: Variant | None = None

    @property
    def header(self) -> str:
        """Label, unit and arrow: ``PSNR (dB) ↑``."""
        return heading(self.label, self.unit, self.direction)

    def format(self, value: Value) -> str:
        """The value as printed: fixed digits for metrics, thousands separated in whole numbers."""
        if value is None:
            return "-"
        if isinstance(value, str):
            return value
        if self.digits is not None:
            return f"{value:,.{self.digits}f}"
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


@dataclass(frozen=True)
class Attribute:
    """A column that is not a metric. ``value`` gives text or a whole number, or a Spread over the seeds."""

    column: Column
    value: Callable[[Entry], Value | Spread]


def metric_column(name: str, records: Sequence[Record], variant: Variant) -> Column:
    """The column of one variant of a metric; label, unit and direction are those its records carry."""
    found = (record.metrics[name] for record in records if name in record.metrics)
    metric = next(metric for metric in found if Variant.of(name, metric) == variant)
    digits = shown(name, metric.shown).digits
    return Column(name, metric.label, metric.direction, metric.unit, digits=digits, variant=variant)


def lookup(record: Record, path: str) -> Any:
    """The value at a dotted path of a record, or None."""
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
        if value is None:
            return None
    return value


def as_text(value: Any) -> Value:
    """A value as a table cell: numbers and text as they are, anything else as its text."""
    return value if value is None or type(value) in (str, int, float) else str(value)
