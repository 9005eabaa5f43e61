"""A comparison table as text: Markdown and terminal here, files for papers and programs in ``exports``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from tokbench.results.table import Cell, Section, Table

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
EMPTY = "No records yet: `tokbench sweep` or `tokbench evaluate` makes them."


def clean(text: str) -> str:
    """Without line breaks and terminal control codes: names come from recipes, and recipes from anywhere."""
    return _CONTROL.sub(" ", text)


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
    return re.sub(r"([\\|*`<>\[\]])", r"\\\1", clean(text))


def to_terminal(table: Table) -> Terminal:
    """A rich renderable (``rich.print(to_terminal(table))``) that fits the width it is printed at."""
    return Terminal(table)


class Terminal:
    """Columns that do not fit go to further blocks, which repeat what identifies the row. No number is ever broken."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.padding import Padding
        from rich.text import Text

        if not self.table.sections and not self.table.remarks:
            yield Text(EMPTY.replace("`", ""))
        for section in self.table.sections:
            yield Text(clean(section.title), style="bold")
            for columns in _blocks(section, options.max_width):
                yield _block(section, columns)
            for index, note in enumerate(section.notes):
                yield Padding(Text(f"{superscript(index)} {clean(note)}", style="dim"), (0, 1))
            for remark in section.remarks:
                yield Padding(Text(clean(remark), style="dim"), (0, 1))
            yield Text("")
        for remark in self.table.remarks:
            yield Padding(Text(clean(remark), style="yellow"), (0, 1))


def _blocks(section: Section, width: int) -> list[list[int]]:
    """Column indices of each block: as many as fit, after those that say which row it is."""
    needed = [_width(section, index) + 3 for index in range(len(section.columns))]
    repeated = [i for i, column in enumerate(section.columns) if column.key in ("quantizer", "name", "K", "D")]
    blocks, free = [list(repeated)], width - sum(needed[i] for i in repeated)
    for index in range(len(section.columns)):
        if index in repeated:
            continue
        if needed[index] > free and len(blocks[-1]) > len(repeated):
            blocks.append(list(repeated))
            free = width - sum(needed[i] for i in repeated)
        blocks[-1].append(index)
        free -= needed[index]
    return [sorted(block) for block in blocks]


def _width(section: Section, index: int) -> int:
    """Characters a column needs when only its header may be broken, between words."""
    texts = [clean(row.cells[index].text) + superscript(row.cells[index].note) for row in section.rows]
    return max(len(text) for text in [*section.columns[index].header.split(), *texts])


def _block(section: Section, columns: list[int]) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index in columns:
        column = section.columns[index]
        justify: Literal["right", "left"] = "right" if column.numeric else "left"
        # Free text (a source, a long name) may wrap; a number may not.
        least = _width(section, index) if column.numeric or column.key in ("quantizer", "codes") else None
        shown.add_column(Text(clean(column.header)), justify=justify, min_width=least, overflow="fold")
    for row in section.rows:
        cells = [row.cells[index] for index in columns]
        texts = [Text(clean(c.text) + superscript(c.note), style="bold green" if c.best else "") for c in cells]
        shown.add_row(*texts, style="dim" if row.entry.published or row.entry.prefix is not None else "")
    return shown
