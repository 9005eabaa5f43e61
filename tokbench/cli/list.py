"""tokbench list"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def list_(
    what: Annotated[
        str, typer.Argument(help="quantizers, architectures, recipes, metrics, importers, data or all.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show what can be named: quantizers, architectures, recipes, metrics, importers, data."""
    from tokbench.cli.catalogue import SECTIONS
    from tokbench.errors import TokbenchError, did_you_mean
    from tokbench.printing import terminal

    if what != "all" and what not in SECTIONS:
        raise TokbenchError(f"list {what}: unknown{did_you_mean(what, [*SECTIONS, 'all'])}")
    found = {name: section() for name, section in SECTIONS.items() if what in ("all", name)}
    if as_json:
        plain = {
            name: [dict(zip(columns, row, strict=True)) for row in rows] for name, (columns, rows) in found.items()
        }
        print(json.dumps(plain, indent=2))
        return
    console = terminal()
    for name, (columns, rows) in found.items():
        console.print(_table(name, columns, rows))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Two columns, name and what it is, with each other value below: these are sentences and long lists, which columns
    of their own would fold to a word a line."""
    from rich.table import Column, Table
    from rich.text import Text

    from tokbench.errors import visible

    headings = Column(columns[0], overflow="fold", no_wrap=True), Column(columns[1], overflow="fold")
    table = Table(*headings, title=title, title_justify="left", title_style="bold")
    for name, about, *others in rows:
        said = Text(visible(about))
        for column, value in zip(columns[2:], others, strict=True):
            if value.strip():
                said.append(f"\n{column}: {visible(' '.join(value.split()))}", style="dim")
        table.add_row(name, said)
    return table
