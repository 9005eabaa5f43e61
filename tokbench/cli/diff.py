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
    """What differs between two runs: metrics, recipe, data, environment, revision.

    Metrics that are means over the same images are compared image by image: [low, high] is the 95 % bootstrap interval
    of the mean difference, and what it leaves undecided is called so.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tokbench.cli._results import load
    from tokbench.errors import visible
    from tokbench.printing import say, terminal
    from tokbench.results.compare import differences
    from tokbench.results.paired import COVERAGE, paired, summary
    from tokbench.results.select import by_id
    from tokbench.results.store import records_file

    records = load(results)
    one, two = by_id(records, first), by_id(records, second)
    pairs = paired(one, two, records_file(results).parent)
    found = differences(one, two, pairs)
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
    if pairs:
        n = next(iter(pairs.values())).n
        say(f"paired over {n:,} images, {COVERAGE:.0%} intervals: {two.id} against {one.id}: {summary(one, pairs)}")
    elif one.kind == two.kind == "tokenizer":
        say("no intervals: the two records do not both keep what each of the same images scored")
