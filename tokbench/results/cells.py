"""Filling a section: one column after another, the best of each marked."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.results.columns import AFTER, Column, Value, attribute, counted_over_images
from tokbench.results.entries import Entry, Spread, Variant
from tokbench.results.layout import Cell, Section

_PLUS_MINUS = " ± "
_UNMEASURED = "not measured for this row."


def add_attribute(section: Section, key: str, values: Sequence[Value | Spread]) -> None:
    """A column that says what a row is; ``values`` run parallel to the rows."""
    column = attribute(key).column
    section.columns.append(column)
    once = key in AFTER  # of one model, counted once
    for row, value in zip(section.rows, values, strict=True):
        entry = row.entry
        if once and entry.prefix is not None:
            row.cells.append(Cell(None, ""))
        elif isinstance(value, Spread):
            row.cells.append(_cell(column, value, entry.published))
        else:
            row.cells.append(Cell(value, column.format(value), None, False, None, entry.published))
        if key == "name" and entry.published:
            row.cells[-1].text += " †"
            remark = (entry.first.model_extra or {}).get("note")
            row.cells[-1].note = _note(section, remark) if remark else None


def add_metric(section: Section, column: Column, variant: Variant, several: bool) -> None:
    """A column of one definition of a metric; ``several``: it has others beside it."""
    label, n = column.label, variant.n
    if several:
        label += f" [{variant.version}]"
    counted = n and counted_over_images(variant.name) and section.context.kind != "benchmark"
    if counted and n != section.context.n:
        label += f" [n={n:,}]"
    key = column.key + (f"@{variant.version}" + (f"@{n}" if n else "") if several else "")
    column = Column(key, label, column.direction, column.unit, digits=column.digits, variant=variant)
    section.columns.append(column)
    first = not any(c.variant and c.variant.name == variant.name for c in section.columns[:-1])
    for row in section.rows:
        row.cells.append(_metric_cell(section, column, variant, row.entry, first))
    _mark_best(section, column)


def _metric_cell(section: Section, column: Column, variant: Variant, entry: Entry, first: bool) -> Cell:
    if entry.prefix is not None:
        spread = entry.metric(variant.name)
        return Cell(None, "") if spread is None else _cell(column, spread, False)
    if entry.published:
        return _cell(column, entry.metric(variant.name) if first else None, True)
    metric = entry.measured(variant.name)
    if metric is None or metric.value is None:
        cell = _cell(column, None, False)
        cell.note = _note(section, f"{column.label}: {(metric and metric.note) or _UNMEASURED}")
        return cell
    if not variant.is_of(metric):
        return _cell(column, None, False)  # its value stands in the column of its own definition
    cell = _cell(column, entry.metric(variant.name), False)
    cell.note = _note(section, f"{column.label}: {metric.note}") if metric.note else None
    return cell


def _note(section: Section, text: str) -> int:
    if text not in section.notes:
        section.notes.append(text)
    return section.notes.index(text)


def _mark_best(section: Section, column: Column) -> None:
    """Bold for the best measured value; ties as printed share it, and nothing is best where all are equal."""
    if column.direction == "none":
        return
    rivals = [
        cell
        for cell, entry in ((row.cells[-1], row.entry) for row in section.rows)
        if not cell.published and entry.prefix is None and isinstance(cell.value, int | float)
    ]
    values = {cell.text.partition(_PLUS_MINUS)[0]: float(cell.value or 0) for cell in rivals}
    if len(values) < 2:
        return
    best = (max if column.direction == "higher" else min)(values, key=lambda text: values[text])
    for cell in rivals:
        cell.best = cell.text.partition(_PLUS_MINUS)[0] == best


def _cell(column: Column, value: Value | Spread, published: bool) -> Cell:
    if isinstance(value, Spread):
        text = column.format(value.mean)
        if value.deviation is not None:
            text += _PLUS_MINUS + column.format(value.deviation)
        return Cell(value.mean, text, value.deviation, False, None, published)
    return Cell(value, column.format(value), None, False, None, published)
