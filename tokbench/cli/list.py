"""tokbench list"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def list_(
    what: Annotated[str, typer.Argument(help="quantizers, architectures, recipes, metrics, data or all.")] = "all",
) -> None:
    """Show what can be named: quantizers, architectures, recipes, metrics, data."""
    from tokbench.cli.catalogue import SECTIONS
    from tokbench.errors import TokbenchError, did_you_mean
    from tokbench.printing import terminal

    if what != "all" and what not in SECTIONS:
        raise TokbenchError(f"list {what}: unknown{did_you_mean(what, [*SECTIONS, 'all'])}")
    console = terminal()
    for name, section in SECTIONS.items():
        if what in ("all", name):
            columns, rows = section()
            console.print(name, style="bold")
            for row in rows:
                _print(row, columns, console)
            console.print()


def _print(row: Sequence[str], columns: Sequence[str], console: Console) -> None:
    """A name with what it is beside it, and each other value that it has on lines of its own: these are sentences and
    long lists, which columns would fold to a word a line."""
    from rich.padding import Padding
    from rich.text import Text

    from tokbench.errors import visible

    title, about, *others = map(visible, row)
    console.print(Padding(Text(title, style="bold").append(f"  {about}", style="not bold"), (0, 0, 0, 2)))
    for column, value in zip(columns[2:], others, strict=True):
        if value.strip():
            console.print(Padding(Text(f"{column}: {' '.join(value.split())}", style="dim"), (0, 0, 0, 6)))
