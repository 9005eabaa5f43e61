"""What a table is made of: sections, rows, cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokbench.results.columns import Column, Value
from tokbench.results.entries import Context, Entry

if TYPE_CHECKING:
    from tokbench.results.record import Record


@dataclass(slots=True)
class TableCell:
    """One value: as a number (``value``, ``deviation`` over seeds) and as printed (``text``)."""

    value: Value
    text: str
    deviation: float | None = None
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
