"""A comparison table in a terminal of any width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokbench.errors import visible
from tokbench.results.layout import Column, Section, Table, TableCell
from tokbench.results.render import EMPTY, superscript

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.style import Style

_GAP = 2
_IDENTITY = ("quantizer", "generator", "name", "batch", "K", "D")
_WIDEST_TEXT = 36


def to_terminal(table: Table) -> Terminal:
    """A rich renderable (``rich.print(to_terminal(table))``) that fits the width it is printed at."""
    return Terminal(table)


class Terminal:
    """Columns that do not fit go to further blocks, which repeat what identifies the row. No number is ever broken.

    Lays out its own lines: rich's tables take seconds for the thousands of rows of a large sweep.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        from rich.padding import Padding
        from rich.text import Text

        if not self.table.sections and not self.table.remarks:
            yield Text(EMPTY.replace("`", ""))
        for section in self.table.sections:
            yield Text(visible(section.title), style="bold")
            texts = [[_text(cell) for cell in row.cells] for row in section.rows]
            widths = [_width(column, texts, index) for index, column in enumerate(section.columns)]
            for columns in _blocks(section, widths, options.max_width):
                yield from _block(section, texts, columns, widths)
            for index, note in enumerate(section.notes):
                yield Padding(Text(f"{superscript(index)} {visible(note)}", style="dim"), (0, 1))
            for remark in section.remarks:
                yield Padding(Text(visible(remark), style="dim"), (0, 1))
            if section.notes or section.remarks:
                yield Text("")
        for remark in self.table.remarks:
            yield Padding(Text(visible(remark), style="yellow"), (0, 1))


def _block(section: Section, texts: list[list[str]], columns: list[int], widths: list[int]) -> Iterator[Segment]:
    """Some columns of a section: header, rule, rows."""
    from rich.segment import Segment
    from rich.style import Style

    def lines(parts: list[list[str]], styles: list[Style]) -> Iterator[Segment]:
        for line in range(max(map(len, parts))):
            cells = []
            for part, style, index in zip(parts, styles, columns, strict=True):
                text = part[line] if line < len(part) else ""
                text = text.rjust(widths[index]) if section.columns[index].numeric else text.ljust(widths[index])
                cells.append(Segment(text if index == columns[-1] else text + " " * _GAP, style))
            yield from Segment.simplify(cells)
            yield Segment("\n")

    bold, best, dim, plain = map(Style.parse, ("bold", "bold green", "dim", "none"))
    headers = [_fold(_header(section.columns[index]), widths[index]) for index in columns]
    height = max(map(len, headers))
    yield from lines([[""] * (height - len(header)) + header for header in headers], [bold] * len(columns))
    yield Segment("─" * (sum(widths[i] + _GAP for i in columns) - _GAP) + "\n")
    for row, own in zip(section.rows, texts, strict=True):
        usual = dim if row.entry.published or row.entry.prefix is not None else plain
        styles = [best if row.cells[index].best else usual for index in columns]
        yield from lines([_fold(own[index], widths[index]) for index in columns], styles)
    yield Segment("\n")


def _blocks(section: Section, widths: list[int], available: int) -> list[list[int]]:
    """Column indices of each block: as many as fit, after those that say which row it is."""
    repeated = [index for index, column in enumerate(section.columns) if column.key in _IDENTITY]
    room = available - sum(widths[i] + _GAP for i in repeated)
    blocks, free = [list(repeated)], room
    for index in range(len(section.columns)):
        if index in repeated:
            continue
        if widths[index] > free and len(blocks[-1]) > len(repeated):
            blocks.append(list(repeated))
            free = room
        blocks[-1].append(index)
        free -= widths[index] + _GAP
    return [sorted(block) for block in blocks]


def _width(column: Column, texts: list[list[str]], index: int) -> int:
    """Characters a column needs when its header may be broken between words, and long text as well."""
    longest = max((len(row[index]) for row in texts), default=0)
    if not column.numeric:
        longest = min(longest, _WIDEST_TEXT)
    return max(longest, *(len(word) for word in _header(column).split(" ")))


def _header(column: Column) -> str:
    arrow = visible(column.header)
    return f"{arrow[:-2]}\u00a0{arrow[-1]}" if column.direction != "none" else arrow  # the arrow stays with its word


def _text(cell: TableCell) -> str:
    return visible(cell.text) + superscript(cell.note)


def _fold(text: str, width: int) -> list[str]:
    return [text] if len(text) <= width else textwrap.wrap(text, width) or [""]
