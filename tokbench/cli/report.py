"""``tokbench report``: one HTML page of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(help="the records")] = Path("results/runs.jsonl"),
    out: Annotated[Path, typer.Option("--out", "-o", help="the page")] = Path("report.html"),
    where: Annotated[
        list[str] | None, typer.Option(help="only such rows: quantizer=rq,vq  K=256  (repeat: all must hold)")
    ] = None,
    title: Annotated[str, typer.Option(help="the page's heading")] = "tokbench: visual tokenizers compared",
    published: Annotated[bool, typer.Option("--published", help="published rows beside the measured ones")] = False,
) -> None:
    """One self-contained HTML page: tables that sort and filter, curves, reconstructions, failures, environment."""
    from tokbench.cli._results import check_page, load
    from tokbench.printing import say
    from tokbench.results.files import write
    from tokbench.results.report import build
    from tokbench.results.select import where as select

    records = load(results)
    check_page(out, records, results)
    folder = results if results.is_dir() else results.parent
    page = build(select(records, where or []), folder, title=title, damaged=records.damaged, published=published)
    write(out, page)
    say(f"wrote {out} ({len(page.encode()) / 2**20:.1f} MiB)")
