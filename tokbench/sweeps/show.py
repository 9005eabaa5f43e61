"""The end of a sweep: its table and its image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tokbench.printing import terminal
from tokbench.results.files import write
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_markdown, to_terminal
from tokbench.sweeps.pictures import comparison_picture
from tokbench.sweeps.plan import Plan


def show(plan: Plan, out: Path, console: Console, also: Sequence[str] = ()) -> None:
    """Print the comparison table of the plan's records and leave it, and the image, in ``out``. ``also``: columns."""
    keys = {cell.key for cell in plan.cells}
    store = Store(out / "runs.jsonl")
    found = store.read()
    for number, reason in found.damaged:
        console.print(f"{store.path}, line {number}: not used: {reason}")
    records = [record for record in found if record.cell in keys]
    if any(record.error is None for record in records):
        table = comparison(records, by_depth=True, also=also)
        terminal().print(to_terminal(table))
        write(out / "table.md", to_markdown(table))
        console.print()
        console.print(f"records {store.path}, table {out / 'table.md'}")
    picture = comparison_picture(plan.tokenizers, records, out)
    if picture is not None:
        console.print(f"image {picture}")
