"""What a table is made of: sections, rows, cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokbench.results.columns import Column, Value
from tokbench.results.entries import Context, Entry

if TYPE_CHECKING:
    from tokbench.results.record import Record


@dataclass(slots=True)
class Cell:
    """One value: as a number (``value``, ``deviation`` over seeds) and as printed (``text``)."""

    value: Value
    text: str
    deviation: float | None = None
    best: bool = False
    note: int | None = None  # index into the section's notes
    published: bool = False


@dataclass(slots=True)
class Row:
    """One experiment (or a prefix of its depths); ``cells`` run parallel to the section's columns."""

    entry: Entry
    cells: list[Cell]


@dataclass
class Section:
    """Rows that may be compared: measured on the same images, prepared in the same way."""

    title: str
    context: Context
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # numbered, cells point at them
    remarks: list[str] = field(default_factory=list)  # about the section as a whole


@dataclass
class Table:
    """Sections, and remarks on what is in none of them."""

    sections: list[Section]
    remarks: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
