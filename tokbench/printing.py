"""The one way to the terminal: text is text there, never markup, and it carries neither control codes nor secrets.

Names of files, recipes, records and libraries' messages come from anywhere. What is printed through ``terminal`` needs
no care of its own: strings are not read as rich's markup, and everything drawn passes ``visible``. What is printed
without rich (``say``) passes it too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tokbench.errors import printable, visible


class _Console(Console):
    """Strings are made visible before they are laid out; segments once more, for what brings its own text.

    A string is one line, whatever is in it: several lines are several calls.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            whole = segment.control or segment.text.isprintable()
            yield segment if whole else segment._replace(text="\n".join(map(printable, segment.text.split("\n"))))

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        lines = all(isinstance(each, str | Text) for each in objects)  # paths are copied from them: never broken
        super().print(*objects, soft_wrap=lines if soft_wrap is None else soft_wrap, **options)


_QUIET = "TOKBENCH_QUIET"  # in the environment: processes started from here are as quiet


def hush(wanted: bool) -> None:
    """From now on consoles on stderr (progress, what is being done) show nothing; results, warnings and errors stay."""
    os.environ.pop(_QUIET, None)
    if wanted:
        os.environ[_QUIET] = "1"


def terminal(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console of rich's for everything that is printed: on stdout results, on stderr what is being done."""
    quiet = stderr and _QUIET in os.environ
    return _Console(stderr=stderr, file=file, width=width, quiet=quiet, markup=False, emoji=False, highlight=False)


_GAP = 3  # between two columns


def fitted(
    to: Console, columns: Sequence[tuple[str, JustifyMethod]], rows: Sequence[Sequence[str]], dispensable: Sequence[str]
) -> tuple[Table, list[str]]:
    """A table no wider than the terminal, and the headers of the columns that had to go for it.

    ``dispensable``: headers of columns that may go, the least important first. No cell is broken while one of them
    is left; the widest column is folded after that.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    shown = list(range(len(columns)))
    widths = [max(map(cell_len, (columns[i][0], *(row[i] for row in cells)))) for i in shown]
    gone = []
    for header in dispensable:
        if sum(widths[i] + _GAP for i in shown) - _GAP <= to.width:
            break
        shown = [i for i in shown if columns[i][0] != header]
        gone.append(header)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    widest = max(shown, key=lambda i: widths[i])
    for i in shown:
        table.add_column(columns[i][0], justify=columns[i][1], no_wrap=i != widest, overflow="fold")
    for row in cells:
        table.add_row(*(row[i] for i in shown))
    return table, gone


def print_fitted(
    to: Console,
    columns: Sequence[tuple[str, JustifyMethod]],
    rows: Sequence[Sequence[str]],
    dispensable: Sequence[str],
    *,
    title: str = "",
) -> None:
    """Print a table that is ``fitted``, and which of its columns had to go; ``title``: a line above it."""
    table, gone = fitted(to, columns, rows, dispensable)
    if title:
        to.print(title)
    to.print(table)
    if gone:
        to.print(f"left out for lack of space: {', '.join(gone)}", style="dim")


def print_numbers(
    to: Console, headers: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str], *, title: str = ""
) -> None:
    """``print_fitted`` of words in the first column and numbers in the others."""
    words, *numbers = headers
    columns: list[tuple[str, JustifyMethod]] = [(words, "left"), *((header, "right") for header in numbers)]
    print_fitted(to, columns, rows, dispensable, title=title)


class _Description(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(visible(task.description))


def progress_bar(to: Console, *, transient: bool = True, disable: bool = False) -> Progress:
    """rich's usual bar with descriptions that are text; nothing but an empty line of it would reach a file."""
    columns = (_Description(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=to, transient=transient, disable=disable or (transient and not to.is_interactive))


def say(line: object, *, error: bool = False) -> None:
    """Print one line, however long, without rich."""
    print(visible(str(line)), file=sys.stderr if error else sys.stdout)
