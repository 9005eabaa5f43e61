"""A comparison table as Markdown (the terminal is in ``terminal``, files for papers and programs in ``exports``)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from tokbench.errors import visible
from tokbench.results.layout import Section, Table, TableCell

_SPECIAL = re.compile(r"([\\|*`<>\[\]~$&])|((?<!\w)_|_(?!\w))")  # an underscore within a word is text
_PLAIN = re.compile(r"[^\W_]*(?:[ .,±×·%+()-]+[^\W_]*)*")  # nothing to escape: most cells of a large table
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
EMPTY = "No records yet: `tokbench sweep` or `tokbench evaluate` makes them."


def superscript(note: int | None) -> str:
    return "" if note is None else str(note + 1).translate(_SUPERSCRIPTS)


def to_markdown(table: Table) -> str:
    """GitHub Markdown: a heading and a table for every section, notes below."""
    if not table.sections and not table.remarks:
        return EMPTY + "\n"
    blocks = ["\n".join(_markdown_section(section)) for section in table.sections]
    if table.remarks:
        blocks.append("\n".join(f"- {markdown(remark)}" for remark in table.remarks))
    return "\n\n".join(blocks) + "\n"


def _markdown_section(section: Section) -> list[str]:
    def text(cell: TableCell) -> str:
        body = markdown(cell.text)
        return (f"**{body}**" if cell.best else body) + superscript(cell.note)

    rows = [[markdown(column.header) for column in section.columns]]
    rows += [[text(cell) for cell in row.cells] for row in section.rows]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(section.columns))]
    right = [column.numeric for column in section.columns]
    rules = ["-" * (w - 1) + ":" if r else "-" * w for r, w in zip(right, widths, strict=True)]
    padded = [[t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)] for row in rows]
    lines = [f"### {markdown(section.title)}", ""]
    lines += ["| " + " | ".join(row) + " |" for row in [padded[0], rules, *padded[1:]]]
    below = [f"- {superscript(i)} {markdown(note)}" for i, note in enumerate(section.notes)]
    below += [f"- {markdown(remark)}" for remark in section.remarks]
    return [*lines, "", *below] if below else lines


def plain_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Cells that are Markdown already; the columns of these ``numbers`` stand to the right."""
    rule = ["--:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def markdown(text: str) -> str:
    """``text`` so that Markdown, HTML and GitHub's mathematics take it for nothing but text, in one line."""
    return text if _PLAIN.fullmatch(text) else _SPECIAL.sub(r"\\\g<0>", visible(text))
