"""tokbench probe"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.cli.options import TOKENIZER, Cpu, Records, Workers

if TYPE_CHECKING:
    from tokbench.results.record import Record


def probe(
    tokenizer: Annotated[str, typer.Argument(help=TOKENIZER)],
    data: Annotated[str, typer.Option("--data", help="Images or videos with classes: folder:PATH, hub:cifar10, ...")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--inputs", help="What to read: codes,pixels (default), linear, ar (with --generator)."),
    ] = None,
    generator: Annotated[
        str | None, typer.Option("--generator", help="The folder of an AR on these codes, which --inputs ar reads.")
    ] = None,
    block: Annotated[
        int | None, typer.Option("--block", min=1, help="After which of its blocks; default half of them.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="A side, HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH; default the tokenizer's own."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1)] = 2000,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    width: Annotated[int, typer.Option("--width", min=1)] = 192,
    layers: Annotated[int, typer.Option("--layers", min=1)] = 6,
    heads: Annotated[int, typer.Option("--heads", min=1)] = 3,
    learning_rate: Annotated[float, typer.Option("--learning-rate")] = 1e-3,
    weight_decay: Annotated[float, typer.Option("--weight-decay")] = 0.05,
    seed: Annotated[list[str] | None, typer.Option("--seed", help="Default 0; several, e.g. 0,1,2.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many training images.")] = None,
    eval_limit: Annotated[int | None, typer.Option("--eval-limit", min=1, help="At most so many held out.")] = None,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Of clips: one of every so many frames.")] = 1,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Of clips: frames per second, by the video's times.")
    ] = None,
    workers: Workers = 0,
    name: Annotated[str | None, typer.Option("--name", help="The row's name; default the tokenizer's.")] = None,
    out: Records = Path("results/runs.jsonl"),
    work: Annotated[Path, typer.Option("--work", help="Folder of the codes and checkpoints.")] = Path("runs/probe"),
    cpu: Cpu = False,
) -> None:
    """Train the same small classifier on a tokenizer's codes and on pixels: top-1 of both, a record each.

    Pixels are read in patches of the codes' grid. Beside them `linear` is one layer on the code vectors, and `ar` one
    layer on what an AR has of the codes half-way through. Killed half-way, the same command continues where it stopped;
    what has a record already is not trained again.
    """
    import shutil

    import torch

    from tokbench.cli._results import keep
    from tokbench.cli.options import device, numbers, size_of, smaller_batch, words
    from tokbench.errors import noun_of, size_text
    from tokbench.memory import explained
    from tokbench.metrics.record import saved_weights
    from tokbench.models import Tokenizer
    from tokbench.printing import progress_bar, terminal
    from tokbench.probe.arms import check_reads, make_arms
    from tokbench.probe.classifier import ProbeSettings
    from tokbench.probe.record import cell, few, probe_record
    from tokbench.probe.run import recognise
    from tokbench.probe.samples import Codes, Pixels, open_labelled
    from tokbench.results.environment import content_hash
    from tokbench.results.store import Store, records_of

    reads = list(dict.fromkeys(words(inputs))) or ["codes", "pixels"]
    check_reads(reads, generator, block)
    settings = ProbeSettings(width, layers, heads, steps, batch_size, learning_rate, weight_decay)
    seeds, where, file = numbers("--seed", seed) or [0], torch.device(device(cpu)), records_of(out)
    store = Store(file)
    store.check()
    model = Tokenizer.from_pretrained(tokenizer).to(where).eval()
    image_size = size_of(model, size, "--size")
    limits: dict[str, Any] = {"limit": limit, "eval_limit": eval_limit, "stride": stride, "fps": fps}
    labelled = open_labelled(data, image_size, model.config.channels, model.config.kind, **limits)
    arms = make_arms(reads, model, labelled, settings, generator, block)
    console, records = terminal(stderr=True), []
    advice = smaller_batch(batch_size, "--width or --layers smaller")
    with (
        progress_bar(console) as bar,
        explained(f"probing {batch_size} {noun_of(image_size)}s of {size_text(image_size)} at a time", *advice),
    ):
        for arm in arms:
            recipe, codes = arm.recipe, arm.of_codes
            samples: Codes | Pixels | None = None
            for number in seeds:
                key = cell(recipe, number)
                if (known := store.find(key)) is not None:
                    records.append(known)
                    console.print(f"{arm.reads}, seed {number}: there already ({known.id})")
                    continue
                task = bar.add_task(f"{arm.reads}, seed {number}", total=None)

                def report(done: int, total: int, task: Any = task) -> None:
                    bar.update(task, completed=done, total=total)

                if samples is None and codes:
                    identity = [recipe[key] for key in ("tokenizer", "train", "eval")]
                    cache = work / f"codes-{content_hash(identity)}"
                    samples = Codes(labelled, model, cache, batch_size=batch_size, workers=workers, progress=report)
                elif samples is None:
                    samples = Pixels(labelled, workers)
                torch.manual_seed(number)
                found = recognise(
                    arm.classifier(), samples, labelled, settings,
                    seed=number, folder=work / key, workers=workers, progress=report,
                )  # fmt: skip
                record = probe_record(
                    found, recipe, data=labelled, settings=settings, seed=number, device=where,
                    name=(name or Path(tokenizer).resolve().name) if codes else arm.pixels,
                    tokenizer=model if codes else None, weights_which=saved_weights(model.home or tokenizer),
                )  # fmt: skip
                keep(record, file)
                shutil.rmtree(work / key, ignore_errors=True)
                records.append(record)
    _show(records, noun_of(image_size))
    if (note := few(labelled)) is not None:
        terminal().print(note)
    console.print(f"records in {file}")


def _show(records: list[Record], sample: str) -> None:
    """A row for each classifier; below, what a blind guess would reach. ``sample``: what is recognised."""
    from tokbench.printing import print_numbers, terminal

    headers = ["reads", "seed", "top-1 (%) ↑", "±", "n", "parameters", "of them input", "training (s)"]
    rows = []
    for record in records:
        (top1,), model = record.metrics.values(), record.model
        rows.append([
            record.name if model["reads"] == "pixels" else f"{model['reads']} ({record.name})",
            str(record.seed), f"{top1.value:.2f}", f"{top1.stderr:.2f}", f"{top1.n:,}",
            f"{model['parameters']:,}", f"{model['input_parameters']:,}", f"{record.training.seconds or 0:.0f}",
        ])  # fmt: skip
    (extra,) = records[0].plain()["metrics"].values()
    console = terminal()
    print_numbers(console, headers, rows, ["of them input", "training (s)", "parameters", "n"])
    console.print(
        f"± is the standard error over the n held-out {sample}s. The largest of {extra['classes']} classes alone "
        f"reaches {extra['largest_class']:.2f} %."
    )
