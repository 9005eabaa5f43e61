"""What a table is made of: sections, rows, cells; and how a section is filled, the best of each column marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tokbench.errors import noun_of
from tokbench.results.attributes import AFTER, FRAMES, attribute
from tokbench.results.columns import Column, Value
from tokbench.results.entries import Context, Entry, Spread, Variant, of_parts
from tokbench.results.record import Record

_PLUS_MINUS = " ± "
_ERROR = "In brackets: the standard error of the mean over images."
_UNMEASURED = "not measured for this row."


@dataclass(slots=True)
class TableCell:
    """One value: as a number (``value``, ``deviation`` over seeds, standard ``error`` over images where it was asked
    for) and as printed (``text``)."""

    value: Value
    text: str
    deviation: float | None = None
    error: float | None = None
    best: bool = False
    note: int | None = None  # index into the section's notes


@dataclass(slots=True)
class Row:
    """One experiment (or a prefix of its depths); ``cells`` run parallel to the section's columns."""

    entry: Entry
    cells: list[TableCell]


@dataclass
class Section:
    """Rows that may be compared: measured on the same images, prepared in the same way."""

    title: str
    context: Context
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # numbered, cells point at them
    remarks: list[str] = field(default_factory=list)  # about the section as a whole

    def note(self, text: str) -> int:
        """The index of a note with that text, added where there is none."""
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text)


@dataclass
class Table:
    """Sections, and remarks on what is in none of them."""

    sections: list[Section]
    remarks: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)


def add_attribute(section: Section, key: str, values: Sequence[Value | Spread]) -> None:
    """A column that says what a row is; ``values`` run parallel to the rows."""
    column = attribute(key).column
    column = replace(column, label=column.label.replace("image", noun_of(section.context.size)))
    section.columns.append(column)
    for row, value in zip(section.rows, values, strict=True):
        once = key in (*AFTER, *FRAMES) and row.entry.prefix is not None  # of one model, counted once
        cell = TableCell(None, "") if once else _cell(column, value)
        if key == "name" and row.entry.published:
            cell.text += " †"
            remark = row.entry.first.plain().get("note")
            cell.note = section.note(remark) if remark else None
        row.cells.append(cell)


def add_metric(section: Section, column: Column, variant: Variant, several: bool) -> None:
    """A column of one definition of a metric; ``several``: it has others beside it."""
    key, label, n = column.key, column.label, variant.n
    if several:
        label += f" [{variant.version}]"
        key += f"@{variant.version}" + (f"@{n}" if n else "")
    if n and n != section.context.n and section.context.kind != "benchmark":
        label += f" [n={n:,}]"
    first = not any(c.variant and c.variant.name == variant.name for c in section.columns)
    column = replace(column, key=key, label=label)
    section.columns.append(column)
    for row in section.rows:
        row.cells.append(_metric_cell(section, column, variant, row.entry, first))
    _mark_best(section, column)


def add_errors(section: Section) -> None:
    """Behind each mean over images its standard error, in brackets; of several seeds that of their mean's images."""
    has_error = False
    for at, column in enumerate(section.columns):
        if column.variant is None:
            continue
        for row in section.rows:
            cell, found = row.cells[at], [record.metrics.get(column.variant.name) for record in row.entry.records]
            errors = [metric.stderr for metric in found if metric is not None and metric.stderr is not None]
            if cell.value is not None and row.entry.prefix is None and errors:
                cell.error, has_error = sum(errors) / len(errors), True
                cell.text += f" ({column.format(cell.error)})"
    if has_error:
        section.remarks.append(_ERROR)


def _metric_cell(section: Section, column: Column, variant: Variant, entry: Entry, first: bool) -> TableCell:
    if entry.prefix is not None:
        return _prefix_cell(section, column, variant, entry)
    if entry.published:
        return _cell(column, entry.metric(variant.name) if first else None)
    metric = entry.measured(variant.name)
    if metric is not None and metric.value is not None:
        if not variant.is_of(metric):
            return _cell(column, None)  # its value stands in the column of its own definition
        cell, note = _cell(column, entry.metric(variant.name)), metric.note
    else:
        cell, note = _cell(column, None), (metric and metric.note) or _UNMEASURED
    cell.note = section.note(labelled(column.label, note)) if note else None
    return cell


def labelled(label: str, note: str) -> str:
    """A metric's note under its label, unless it begins with that."""
    return note if note.startswith(label) else f"{label}: {note}"


def _prefix_cell(section: Section, column: Column, variant: Variant, entry: Entry) -> TableCell:
    spread, metric = entry.metric(variant.name), entry.measured(variant.name)
    if spread is None or metric is None:
        return TableCell(None, "")
    cell = _cell(column, spread)
    if of_parts(variant.name, metric):
        entries, codes = max(entry.codebook_sizes() or [0]), (metric.n or 0) * entry.added
        few = f"only {codes} positions for a codebook of {entries}" if codes < entries else ""
        cell.note = section.note(f"{column.label}: of what the row adds alone{few and '; '}{few}")
    return cell


def _mark_best(section: Section, column: Column) -> None:
    """Bold for the best measured value; ties as printed share it, and nothing is best where all are equal."""
    if column.direction == "none":
        return
    own = [row.cells[-1] for row in section.rows if not row.entry.published and row.entry.prefix is None]
    rivals = [cell for cell in own if isinstance(cell.value, int | float)]
    values = {cell.text.partition(_PLUS_MINUS)[0]: float(cell.value or 0) for cell in rivals}
    if len(values) < 2:
        return
    best = (max if column.direction == "higher" else min)(values, key=lambda text: values[text])
    for cell in rivals:
        cell.best = cell.text.partition(_PLUS_MINUS)[0] == best


def _cell(column: Column, value: Value | Spread) -> TableCell:
    if not isinstance(value, Spread):
        return TableCell(value, column.format(value))
    text = column.format(value.mean)
    if value.deviation is not None:
        text += _PLUS_MINUS + column.format(value.deviation)
    return TableCell(value.mean, text, value.deviation)
