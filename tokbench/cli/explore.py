"""tokbench explore"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import Cpu, Results


def explore(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Tokenizers and generators: folders, published models' names (tokbench models), hub ids; default the "
            "newest tokenizers of --results.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Of the page; default the first free from 7860 on.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Where the tokenizer of the generators lies now.")
    ] = None,
    results: Results = Path("results"),
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser, or only say where it is.")
    ] = True,
    cpu: Cpu = False,
) -> None:
    """A page of this machine alone: an image or a clip through several tokenizers side by side, at every depth, its
    codes to look at and change, and images drawn and completed by generators."""
    from tokbench.explore.server import check_port, need_gradio, serve

    need_gradio()
    check_port(port)

    from tokbench.cli.options import device
    from tokbench.explore.models import named, opened

    serve(opened(named(models or [], results), device(cpu), tokenizer), port, browser)
