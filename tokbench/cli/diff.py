"""``tokbench diff``: what differs between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diff(
    first: Annotated[str, typer.Argument(help="a run's id or cell, or the beginning of one")],
    second: Annotated[str, typer.Argument(help="another")],
    results: Annotated[Path, typer.Option(help="the records")] = Path("results/runs.jsonl"),
) -> None:
    """What differs between two runs: metrics, recipe, data, environment, revision."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tokbench.cli._results import load
    from tokbench.errors import visible
    from tokbench.printing import say, terminal
    from tokbench.results.compare import differences
    from tokbench.results.select import by_id

    records = load(results)
    one, two = by_id(records, first), by_id(records, second)
    found = differences(one, two)
    if not found:
        say(f"{one.id} and {two.id} say the same")
        return
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for header in ("", f"{one.id} {visible(one.name)}", f"{two.id} {visible(two.name)}", "change"):
        shown.add_column(Text(header), overflow="fold", no_wrap=not header)
    block = ""
    for each in found:
        if each.block != block:
            block = each.block
            shown.add_row(Text(block, style="bold"))
        shown.add_row(*(Text(visible(part)) for part in (f"  {each.key}", each.first, each.second, each.change)))
    terminal().print(shown)
