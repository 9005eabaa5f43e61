"""tokbench list"""

from __future__ import annotations

from typing import Annotated

import typer


def list_(
    what: Annotated[str, typer.Argument(help="quantizers, architectures, recipes, metrics, data or all.")] = "all",
) -> None:
    """Show what can be named: quantizers, architectures, recipes, metrics, data."""
    from rich.console import Console
    from rich.table import Column, Table

    from tokbench.cli.catalogue import SECTIONS
    from tokbench.errors import TokbenchError, did_you_mean

    if what != "all" and what not in SECTIONS:
        raise TokbenchError(f"list {what}: unknown{did_you_mean(what, [*SECTIONS, 'all'])}")
    console = Console()
    for name, section in SECTIONS.items():
        if what in ("all", name):
            columns, rows = section()
            first, *others = columns
            headings = (Column(first, overflow="fold", no_wrap=True), *(Column(c, overflow="fold") for c in others))
            table = Table(*headings, title=name, title_justify="left", title_style="bold", expand=False)
            for row in rows:
                table.add_row(*row)
            console.print(table)
