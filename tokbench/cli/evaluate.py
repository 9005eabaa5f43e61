"""tokbench evaluate"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.cli.options import TOKENIZER, Cpu, Data, Limit, Metrics, Protocol, Records, Split, Workers

if TYPE_CHECKING:
    from tokbench.metrics import Evaluation


def evaluate(
    tokenizer: Annotated[str, typer.Argument(help=TOKENIZER)],
    data: Data,
    split: Split = "eval",
    size: Annotated[
        str | None, typer.Option("--size", help="A side, HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH; default its own.")
    ] = None,
    metrics: Metrics = None,
    protocol: Protocol = "tokbench-v1",
    train_data: Annotated[
        bool, typer.Option("--train-reference", help="Also open the training split, which rfid_train compares with.")
    ] = False,
    limit: Limit = None,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Of clips: one of every so many frames.")] = 1,
    fps: Annotated[float | None, typer.Option("--fps", help="Of clips: frames per second, by the times.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    workers: Workers = 0,
    by_depth: Annotated[bool, typer.Option("--by-depth/--no-by-depth", help="Measure every prefix of depths.")] = True,
    name: Annotated[str | None, typer.Option("--name", help="The row's name; default the tokenizer's.")] = None,
    out: Records = Path("results/runs.jsonl"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON in place of the table.")] = False,
    cpu: Cpu = False,
) -> None:
    """Measure a tokenizer: fidelity, code use and rate, as one record in the results.

    Several GPUs: accelerate launch -m tokbench evaluate TOKENIZER --data ...
    """
    from accelerate import Accelerator

    from tokbench.cli._results import keep
    from tokbench.cli.options import size_of, smaller_batch, words
    from tokbench.data import PROTOCOLS, open_images
    from tokbench.errors import noun_of, size_text
    from tokbench.memory import explained
    from tokbench.metrics import evaluate_tokenizer, get
    from tokbench.metrics.record import evaluation_record, saved_weights, with_images
    from tokbench.models import Tokenizer
    from tokbench.printing import progress_bar, terminal
    from tokbench.results.store import Store, records_of
    from tokbench.sweeps.pictures import with_pictures

    wanted = words(metrics) or None
    for metric in wanted or []:
        get(metric)  # a misspelt name costs a second, not a pass over the images
    crop = PROTOCOLS.get(protocol).crop
    accelerator, file = Accelerator(cpu=cpu, mixed_precision="no"), records_of(out)
    if accelerator.is_main_process:
        Store(file).check()
    model = Tokenizer.from_pretrained(tokenizer)
    image_size = size_of(model, size, "--size", single=True)
    shape: Any = {"image_size": image_size, "channels": model.config.channels, "crop": crop}
    shape |= {"stride": stride, "fps": fps, "kind": model.config.kind}
    dataset = open_images(data, split, limit=limit, **shape)  # type: ignore[arg-type]
    train = open_images(data, "train", **shape) if train_data else None

    console = terminal(stderr=True)
    if dataset.share and accelerator.is_main_process:
        console.print(dataset.share)
    advice = smaller_batch(batch_size, "--size SIZE, a multiple of the downsampling")
    with (
        progress_bar(console, transient=True, disable=not accelerator.is_main_process) as bar,
        explained(f"measuring {batch_size} {noun_of(image_size)}s of {size_text(image_size)} at a time", *advice),
    ):
        task = bar.add_task("measuring", total=len(dataset))
        result = evaluate_tokenizer(
            model,
            dataset,
            metrics=wanted,
            batch_size=batch_size,
            protocol=protocol,
            by_depth=by_depth,
            workers=workers,
            accelerator=accelerator,
            train_dataset=train,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if not accelerator.is_main_process:
        return
    record = evaluation_record(
        result,
        model,
        dataset.fingerprint,
        by_depth=by_depth,
        name=name or Path(tokenizer).resolve().name,
        weights_which=saved_weights(model.home or tokenizer),
    )
    record = with_images(record, result, file.parent)
    if any(get(metric).source and value.value is not None for metric, value in result.metrics.items()):
        record = with_pictures(record, model, dataset, file.parent)
    if not as_json:
        _show(result)
    keep(record, file)
    if as_json:  # where it could not be kept it has been printed
        print(record.line.decode())
    if (folder := Path(tokenizer)).is_dir() and os.access(folder, os.W_OK):
        model.write_card(folder)
    console.print(f"record {record.id} appended to {file}")


def _show(result: Evaluation) -> None:
    """A row a metric, with a column for every depth where the codes have several; below, what needs saying."""
    from tokbench.errors import noun_of, size_text
    from tokbench.printing import print_fitted, terminal
    from tokbench.results.definitions import ARROWS

    parts = result.rate.prefixes
    columns = [f"{n} codes" for n in parts] if parts else [f"depth {d}" for d in range(1, result.rate.tokens[-1] + 1)]
    columns = columns if len(columns) > 1 else []
    rows = []
    console, rate, data = terminal(), result.rate, result.data
    for value in result.metrics.values():
        whole = value.by_depth is not None and len(value.by_depth) == len(columns)
        by_depth = [_number(v) for v in value.by_depth or []] if whole else ["" for _ in columns]
        title = " ".join(filter(None, (value.label, ARROWS[value.direction], value.unit and f"({value.unit})")))
        error = _number(value.stderr) if value.stderr is not None else ""
        rows.append((title, _number(value.value), error, *by_depth[: len(columns)], f"{value.n:,}"))
    numbers: Any = [(heading, "right") for heading in ("value", "±", *columns, "n")]
    # The depths between the first and the last say least.
    between = [name for step in (2, 1) for name in columns[1:-1][::step]]
    print_fitted(console, [("metric", "left"), *numbers], rows, [*dict.fromkeys(between), "n", "±"])
    for value in result.metrics.values():
        if value.note:
            console.print(f"{value.label}: {value.note}")
        if (first := value.extra.get("first_frame")) is not None:
            later = value.extra["later_frames"]
            console.print(f"{value.label}: {_number(first)} in first frames, {_number(later)} in later ones")
        for row in value.extra.get("by_size", ()):
            read = f"{row['cer']:.1%} of characters wrong at {row['size']} pixels"
            console.print(f"{value.label}: {read} ({row['cer_originals']:.1%} in the originals, n={row['n']})")
    tokens = "x".join(map(str, rate.tokens))
    noun = noun_of(data.size)
    bits = f"{rate.bits_per_image:,.0f} bits per {noun}, {rate.bits_per_pixel:.4f} bits per pixel"
    skipped = f", {data.skipped} skipped" if data.skipped else ""
    console.print(f"{tokens} codes, {bits}")
    pictures = f"{data.count} {noun}s of {data.spec} ({data.split}), {size_text(data.size)}"
    line = f"{pictures}, protocol {data.protocol}{skipped}; {result.timing['seconds']:.0f} s"
    console.print(line)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
