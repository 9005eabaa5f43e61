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
            "--from",
            metavar="TOKENIZER",
            help="Train a tokenizer on: its architecture, quantizer, size and weights. A magvit2-video recipe keeps "
            "its own and grows out of an image tokenizer (magvit2).",
        ),
    ] = None,
    cpu: Cpu = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all that training would, print the recipe, train nothing.")
    ] = False,
    on_nan: Annotated[
        str | None,
        typer.Option("--on-nan", metavar="stop|skip", help="A loss or gradient that is NaN or Inf (training.on_nan)."),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option("--tracker", metavar="tensorboard|wandb", help="Send values there too; may be given often."),
    ] = None,
    find_batch_size: Annotated[
        bool, typer.Option("--find-batch-size", help="Accumulate gradients as memory asks for; the batch stays.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record a few steps with torch's profiler into the run's folder.")
    ] = False,
) -> None:
    """Train what a recipe describes.

    Several GPUs or nodes: accelerate launch -m tokbench train RECIPE ...

    SIGTERM saves a checkpoint and exits with 0, Ctrl-C saves one and exits with 130; --resume continues from it.
    """

    from tokbench.config.loading import apply_overrides, draft_recipe
    from tokbench.errors import TokbenchError, counted
    from tokbench.printing import terminal

    draft = draft_recipe(recipe)
    if start_from is not None:
        from tokbench.models import Tokenizer

        if draft.values.get("kind") == "generator":
            raise TokbenchError(f"{recipe}: trains a generator; --from is for tokenizers, use --set tokenizer=FOLDER")
        begun = Tokenizer.from_pretrained(start_from).config
        wanted = draft.values.get("model", {}).get("architecture")
        if wanted == "magvit2-video" != begun.model.architecture:  # it grows out of an image tokenizer
            draft.values["start_from"] = start_from
        else:
            config = begun.model_dump(mode="json")
            draft.values |= {"model": config["model"], "quantizer": config["quantizer"], "start_from": start_from}
            draft.set("data.image_size", begun.image_size, f"--from {start_from}")
            draft.set("data.channels", begun.channels, f"--from {start_from}")
            draft.set("data.kind", begun.kind, f"--from {start_from}")
    apply_overrides(draft, overrides or ())
    if on_nan is not None:
        draft.set("training.on_nan", on_nan, f"--on-nan {on_nan}")
    if tracker:
        draft.set("training.trackers", tracker, " ".join(f"--tracker {name}" for name in tracker))
    checked = draft.check()

    from tokbench.training.checks import check_recipe  # torch, only once the recipe is right

    parameters = check_recipe(checked, f"{draft.where('quantizer')}: quantizer")
    console = terminal(stderr=True)
    folder = out or Path("runs") / checked.name
    if resume and not (folder / "recipe.yaml").exists():
        raise TokbenchError(f"--resume: {folder} holds no run to continue")
    if dry_run:
        import yaml

        from tokbench.secrets import without_secrets
        from tokbench.training.dry_run import check_run

        found = check_run(checked, folder, resume=resume, cpu=cpu)
        print(yaml.safe_dump(without_secrets(checked.resolved()), sort_keys=False), end="")
        training = checked.training
        console.print(f"{parameters:,} parameters")
        console.print(
            f"{training.batch_size} images an optimizer step, over all processes, in {training.gradient_accumulation} "
            f"micro-batches; learning rate {training.learning_rate:g} for exactly this batch",
        )
        for line in found:
            console.print(line)
        return

    from tokbench.training.loop import make_accelerator
    from tokbench.training.loop import train as run

    accelerator = make_accelerator(checked, cpu)
    result = run(
        checked, folder, resume=resume, accelerator=accelerator, profile=profile, find_batch_size=find_batch_size
    )
    if not result.finished:
        # Preemption is nobody's mistake: a scheduler that sees 0 may start the same command with --resume. Ctrl-C
        # is somebody's wish, so that `train ... && evaluate ...` stops here.
        raise typer.Exit(0 if result.stopped_by == "SIGTERM" else 130)
    if accelerator.is_main_process:
        console.print(f"{counted(result.steps, 'step')} in {result.seconds:.0f} s: {result.product}")
        console.print(_speed(result.speed))
        command = "evaluate" if result.product.name == "tokenizer" else "evaluate-generator"
        console.print(f"next: tokbench {command} {result.product} --data SPEC")


def _speed(speed: dict[str, float | str | None]) -> str:
    """One line of ``training.json``'s ``speed``."""

    def number(key: str, unit: float, form: str) -> str:
        value = speed.get(key)
        return format(value / unit, form) if isinstance(value, (int, float)) else "-"

    return (
        f"{number('steps_per_second', 1, '.3g')} steps/s, {number('images_per_second', 1, '.4g')} images/s, "
        f"{number('flops_per_second', 1e12, '.3g')} TFLOP/s a device, MFU {number('mfu', 1, '.1%')}, "
        f"waiting for data {number('waiting_for_data', 1, '.0%')}, peak memory "
        f"{number('peak_memory_bytes', 2**30, '.2f')} GiB ({speed.get('memory_measured')})"
    )
