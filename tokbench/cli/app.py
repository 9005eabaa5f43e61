"""The commands, one a file, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from tokbench import __version__
from tokbench.cli.doctor import doctor
from tokbench.cli.list import list_
from tokbench.cli.reconstruct import reconstruct
from tokbench.cli.sweep import sweep
from tokbench.cli.train import train

app = typer.Typer(
    name="tokbench",
    help="The comparative toolkit for visual tokenizers: train, measure and compare VQ, RQ, LFQ and successors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tokbench {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The comparative toolkit for visual tokenizers: train, measure and compare VQ, RQ, LFQ and successors."""


app.command()(train)
app.command()(sweep)
app.command()(reconstruct)
app.command("list")(list_)
app.command()(doctor)
