"""tokbench train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import Cpu, Set


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (tokbench list) or file.")],
    overrides: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TOKENIZER", help="Train a tokenizer on: its architecture, quantizer, size and weights."
        ),
    ] = None,
    cpu: Cpu = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe, print it, train nothing.")] = False,
) -> None:
    """Train what a recipe describes.

    Several GPUs or nodes: accelerate launch -m tokbench train RECIPE ...
    """
    from rich.console import Console

    from tokbench.config.loading import apply_overrides, draft_recipe
    from tokbench.training.checks import check_recipe

    draft = draft_recipe(recipe)
    if start_from is not None:
        from tokbench.errors import TokbenchError
        from tokbench.models import Tokenizer

        if draft.values.get("kind") == "generator":
            raise TokbenchError(f"{recipe}: trains a generator; --from is for tokenizers, use --set tokenizer=FOLDER")
        config = Tokenizer.from_pretrained(start_from).config.model_dump(mode="json")
        draft.values |= {"model": config["model"], "quantizer": config["quantizer"], "start_from": start_from}
        draft.set("data.image_size", config["image_size"], f"--from {start_from}")
    apply_overrides(draft, overrides or ())
    checked = draft.check()
    parameters = check_recipe(checked, f"{draft.where('quantizer')}: quantizer")
    console = Console(stderr=True)
    if dry_run:
        import yaml

        print(yaml.safe_dump(checked.resolved(), sort_keys=False), end="")
        console.print(f"{parameters:,} parameters", highlight=False)
        return

    from tokbench.training.loop import make_accelerator
    from tokbench.training.loop import train as run

    folder = out or Path("runs") / checked.name
    if resume and not (folder / "recipe.yaml").exists():
        raise TokbenchError(f"--resume: {folder} holds no run to continue")
    accelerator = make_accelerator(checked, cpu)
    result = run(checked, folder, resume=resume, accelerator=accelerator)
    if not result.finished:
        raise typer.Exit(130)  # so that `train ... && evaluate ...` stops here
    if accelerator.is_main_process:
        console.print(f"{result.steps} steps in {result.seconds:.0f} s: {result.product}", highlight=False)
        command = "evaluate" if result.product.name == "tokenizer" else "evaluate-generator"
        console.print(f"next: tokbench {command} {result.product} --data SPEC", highlight=False)
