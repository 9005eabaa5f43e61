"""The end of a sweep: its table and its picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tokbench.results.columns import AFTER, BEFORE, default_keys
from tokbench.results.files import write
from tokbench.results.layout import Table
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_markdown, to_terminal
from tokbench.sweeps.pictures import comparison_picture
from tokbench.sweeps.plan import Plan


def show(plan: Plan, out: Path, console: Console) -> None:
    """Print the comparison table of the plan's records and leave it, and the picture, in ``out``."""
    keys = {cell.key for cell in plan.cells}
    store = Store(out / "runs.jsonl")
    found = store.read()
    for number, reason in found.damaged:
        console.print(f"{store.path}, line {number}: not used: {reason}", highlight=False, markup=False)
    records = [record for record in found if record.cell in keys]
    if any(record.error is None for record in records):
        table = _table(records)
        Console().print(to_terminal(table))
        write(out / "table.md", to_markdown(table))
        console.print(f"\nrecords {store.path}, table {out / 'table.md'}", highlight=False)
    picture = comparison_picture(plan.tokenizers, records, out)
    if picture is not None:
        console.print(f"picture {picture}", highlight=False)


def _table(records: list[Record]) -> Table:
    """Tokenizers with the usual columns; below them generators with what their codes cost as well."""
    first = [record for record in records if record.kind != "generator"]
    second = [record for record in records if record.kind == "generator"]
    table = comparison(first, by_depth=True)
    if second:
        metrics = list(dict.fromkeys(name for record in second for name in record.metrics))
        coded = [name for name in metrics if name.startswith(("nll_", "model_"))]
        usual = [key for key in default_keys(metrics) if key in metrics or key in (*BEFORE, *AFTER)]
        at = len(BEFORE)
        below = comparison(second, columns=[*usual[:at], *coded, *usual[at:]])
        table.sections += below.sections
        table.remarks += [remark for remark in below.remarks if remark not in table.remarks]
        table.failed += below.failed
    return table
