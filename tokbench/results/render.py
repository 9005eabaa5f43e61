"""A comparison table as Markdown (the terminal is in ``terminal``, files for papers and programs in ``exports``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokbench.results.layout import Cell, Section, Table

_SPECIAL = re.compile(r"([\\|*`<>\[\]])")
_PLAIN = re.compile(r"[\w .,±×·%+()-]*")  # nothing to escape: most cells of a large table
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
EMPTY = "No records yet: `tokbench sweep` or `tokbench evaluate` makes them."


def clean(text: str) -> str:
    """Without line breaks and terminal control codes: names come from recipes, and recipes from anywhere."""
    return text if text.isprintable() else _CONTROL.sub(" ", text)


def superscript(note: int | None) -> str:
    return "" if note is None else str(note + 1).translate(_SUPERSCRIPTS)


def to_markdown(table: Table) -> str:
    """GitHub Markdown: a heading and a table for every section, notes below."""
    if not table.sections and not table.remarks:
        return EMPTY + "\n"
    blocks = ["\n".join(_markdown_section(section)) for section in table.sections]
    if table.remarks:
        blocks.append("\n".join(f"- {_markdown(remark)}" for remark in table.remarks))
    return "\n\n".join(blocks) + "\n"


def _markdown_section(section: Section) -> list[str]:
    def text(cell: Cell) -> str:
        body = _markdown(cell.text)
        return (f"**{body}**" if cell.best else body) + superscript(cell.note)

    rows = [[_markdown(column.header) for column in section.columns]]
    rows += [[text(cell) for cell in row.cells] for row in section.rows]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(section.columns))]
    right = [column.numeric for column in section.columns]
    rules = ["-" * (w - 1) + ":" if r else "-" * w for r, w in zip(right, widths, strict=True)]
    padded = [[t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)] for row in rows]
    lines = [f"### {_markdown(section.title)}", ""]
    lines += ["| " + " | ".join(row) + " |" for row in [padded[0], rules, *padded[1:]]]
    below = [f"- {superscript(i)} {_markdown(note)}" for i, note in enumerate(section.notes)]
    below += [f"- {_markdown(remark)}" for remark in section.remarks]
    return [*lines, "", *below] if below else lines


def _markdown(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _SPECIAL.sub(r"\\\1", clean(text))
