"""tokbench sweep"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from tokbench.cli.options import Cpu

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class SweepCommand(TyperCommand):
    """A command whose further options are the keys of a sweep file, read off them when they are needed: what was given
    of them is ``ctx.meta["given"]``."""

    def get_params(self, ctx: Any) -> list[Any]:
        if "options" not in ctx.meta:
            ctx.meta["options"] = _options()
        file, *rest = super().get_params(ctx)
        return [file, *ctx.meta["options"], *rest]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest: list[str] = super().parse_args(ctx, args)
        given = {option.name: ctx.params.pop(option.name) for option in ctx.meta["options"]}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        ctx.meta["given"] = {name: value for name, value in values.items() if value not in (None, [])}
        return rest


def _options() -> list[Any]:
    """An option for each field of ``SweepSettings``; its value is checked there."""
    from tokbench.sweeps.settings import SweepSettings

    def options() -> None: ...

    options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, field))
            for name, field in SweepSettings.model_fields.items()
        ]
    )
    app = typer.Typer(add_completion=False)
    app.command()(options)
    return [parameter for parameter in typer.main.get_command(app).params if parameter.name != "help"]


def _annotation(name: str, field: FieldInfo) -> Any:
    shown: dict[str, Any] = dict(field.json_schema_extra)  # type: ignore[arg-type]
    flags = [f"--{name.replace('_', '-')}", *([shown["short"]] if shown["short"] else [])]
    more = {"metavar": shown["metavar"], "rich_help_panel": shown["panel"]}
    option = typer.Option(*flags, help=field.description, **more)
    return Annotated[list[str] | None if field.default == [] else str | None, option]


def sweep(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="The options as YAML keys (recipes/sweeps has an example).")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run cells that are already in the records too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells with rate, parameters and time; train nothing.")
    ] = False,
    cpu: Cpu = False,
) -> None:
    """Train and measure a grid of tokenizers, and generators on their codes, and print the comparison table.

    Killed half-way, the same command continues where it stopped.
    """
    from pathlib import Path

    from tokbench.sweeps.settings import load_sweep

    settings = load_sweep(file, ctx.meta["given"])

    from tokbench.sweeps.plan import Plan, print_plan
    from tokbench.sweeps.run import run_sweep

    if dry_run:
        plan = Plan.make(settings, again, cpu)
        print_plan(plan, Path(settings.out))
        if settings.tune is not None:
            from tokbench.sweeps.tune import print_tuning

            print_tuning(plan.tokenizers, settings)
    elif run_sweep(settings, again=again, cpu=cpu):
        raise typer.Exit(1)
