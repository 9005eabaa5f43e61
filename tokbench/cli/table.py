"""``tokbench table``: the comparison table from the records."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tokbench.results.record import Record


class Format(str, Enum):
    """What a table can be written as."""

    terminal = "terminal"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    json = "json"
    html = "html"


def table(
    results: Annotated[Path, typer.Argument(help="the records")] = Path("results/runs.jsonl"),
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="default: terminal, or what --out's name ends in")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="columns, separated by commas: quantizer, K, bpp, psnr, lpips, recipe.training.steps, ..."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="only such rows: quantizer=rq,vq  K=256  seed!=0  (repeat: all must hold)")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="a column; -COLUMN reverses (default: bpp, then PSNR)")] = None,
    group_by: Annotated[str | None, typer.Option(help="a table for each value of this column")] = None,
    by_depth: Annotated[bool, typer.Option("--by-depth", help="also rows for the first 1, 2, ... depths")] = False,
    errors: Annotated[
        bool, typer.Option("--errors", help="in brackets the standard error of each mean over images")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="published rows beside the measured ones")] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="with --published: also numbers that nobody checked")
    ] = False,
    bd_rate: Annotated[
        str | None, typer.Option(help="a quantizer: adds the others' Bjontegaard rate difference to it")
    ] = None,
    bd_metric: Annotated[str, typer.Option(help="the quality of --bd-rate")] = "psnr",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="write to this file instead of printing")] = None,
) -> None:
    """The comparison table: arrows for direction, best in bold, mean ± standard deviation over seeds."""
    from tokbench.cli._results import emit, load
    from tokbench.errors import TokbenchError
    from tokbench.results import table as tables
    from tokbench.results.select import where as select
    from tokbench.results.store import records_file
    from tokbench.results.targets import check_target

    if unverified and not published:
        raise TokbenchError("--unverified adds to the published rows: give --published too")
    if out is not None:
        check_target(out, [records_file(results)])
    kind = format or by_suffix(out)
    found = load(results)
    records = select(found, where or [])
    if found and not records:
        raise TokbenchError(f"--where {' '.join(where or [])}: none of the {len(found)} records matches")
    extra = select(_published(), where or []) if published else []
    shown = tables.comparison(
        records,
        columns=[name for option in columns or [] for name in option.split(",") if name.strip()] or None,
        sort=sort,
        group_by=group_by,
        published=extra,
        unverified=unverified,
        by_depth=by_depth,
        errors=errors,
        bd_rate=bd_rate,
        bd_metric=bd_metric,
    )
    emit(getattr(tables, f"to_{kind.value}")(shown), out)


def _published() -> list[Record]:
    from tokbench.results.published import load

    return load()


def by_suffix(out: Path | None) -> Format:
    """What a file of that name is written as."""
    from tokbench.errors import TokbenchError

    known = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".json": "json", ".html": "html", ".txt": "terminal"}
    if out is None:
        return Format.terminal
    if out.suffix not in known:
        raise TokbenchError(f"{out}: say --format, or end the name in one of {', '.join(known)}")
    return Format(known[out.suffix])
