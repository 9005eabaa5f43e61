"""``tokbench show``: everything one record says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[str, typer.Argument(help="a run's id or cell, or the beginning of one")],
    results: Annotated[Path, typer.Option(help="the records")] = Path("results/runs.jsonl"),
    json: Annotated[bool, typer.Option("--json", help="the record as it is kept")] = False,
) -> None:
    """One run whole: metrics, rate, recipe, training, timing, environment, revision."""
    from rich.text import Text

    from tokbench.cli._results import load
    from tokbench.errors import visible
    from tokbench.printing import terminal
    from tokbench.results.compare import facts
    from tokbench.results.exports import plain_json
    from tokbench.results.select import by_id

    record = by_id(load(results), run)
    if json:
        print(plain_json(record.plain()))
        return
    console = terminal()
    for name, block in facts(record).items():
        console.print(Text(name, style="bold"))
        width = max(len(visible(key)) for key in block)
        for key, value in block.items():
            console.print(Text(f"  {visible(key):<{width}}  ", style="dim") + Text(visible(value), style="default"))
