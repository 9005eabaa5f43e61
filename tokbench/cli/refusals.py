"""What typer refuses (an unknown option, a value of the wrong kind) as one line, as every other mistake is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The root of all commands. Typer's own box gives text from outside to the terminal as it came."""

    def make_context(self, *given: Any, **options: Any) -> Any:
        with _in_one_line():
            return super().make_context(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    from tokbench.printing import say

    try:
        yield
    except Exception as error:
        # Of click's exceptions, which typer brings along under names of its own; one of them only ends after the help.
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "tokbench"
        message = " ".join(str(error.format_message()).split()).replace("Value error, ", "")  # pydantic's, for choices
        say(f"tokbench: {message} (see {path} --help)", error=True)
        raise typer.Exit(2) from None
