"""Measuring a generator from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.cli.options import Cpu, Records, Split

if TYPE_CHECKING:
    from tokbench.training.generator_evaluation import CodedRate, GeneratorEvaluation


def evaluate_generator(
    generator: Annotated[str, typer.Argument(help="A generator's folder, or a model hub id.")],
    data: Annotated[str, typer.Option("--data", help="Held-out images: photos, folder:PATH, ...")],
    split: Split = "eval",
    n: Annotated[int | None, typer.Option("-n", "--samples", min=1, help="Images drawn for gFID and the like.")] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", help="Of generated images, e.g. gfid; default all that work here."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Statistics (.npz with mu, sigma) instead of the images."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many held-out images.")] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", min=1, help="Of clips: one of every so many frames; default the recipe's.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Of clips: frames per second, by the times; default the recipe's.")
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="s in u + s (c - u); 1 is none.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Decoding steps (mlm).")] = None,
    bit_steps: Annotated[
        int | None, typer.Option("--bit-steps", help="Steps for the bits of a position (head masked-bits).")
    ] = None,
    reject: Annotated[
        list[float] | None,
        typer.Option(
            "--reject", help="Share kept of the images of each class or caption; often: a record each, a curve."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="What ranks them: efficientnet-lite0, timm:NAME, timm:NAME=FILE; clip:NAME."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Pixels of the images drawn, HEIGHTxWIDTH: by a window that slides.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    train_images: Annotated[
        int | None, typer.Option("--train-images", min=2, help="How many it was trained on: gives the entropy cliff.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="Where the tokenizer lies now.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The row's name; default the recipe's.")] = None,
    out: Records = Path("results/runs.jsonl"),
    cpu: Cpu = False,
) -> None:
    """Measure a generator: NLL, model-coded rate beside the others, gFID; one record in the results.

    What is not given is as in the recipe's `evaluation` block, and clips' frames as in its `data`, where the generator
    lies in its run's folder.
    """
    import hashlib
    import tempfile

    from pydantic import ValidationError

    from tokbench.cli._results import keep
    from tokbench.cli.options import device, smaller_batch, words
    from tokbench.config.address import unlike_default
    from tokbench.config.crop import measured_by
    from tokbench.config.generator import GeneratorEvaluationConfig
    from tokbench.config.grid import parse_size
    from tokbench.data import open_images
    from tokbench.errors import TokbenchError
    from tokbench.generators.pipeline import Pipeline
    from tokbench.generators.record import generator_record
    from tokbench.generators.rejection import check_ranks
    from tokbench.memory import explained
    from tokbench.metrics import get
    from tokbench.metrics.record import saved_weights
    from tokbench.models.folder import explain
    from tokbench.printing import progress_bar, terminal
    from tokbench.results.environment import content_hash
    from tokbench.results.store import Store, records_of
    from tokbench.training.generator_evaluation import evaluate_generator as measure
    from tokbench.training.generator_evaluation import frames_of, recipe_of

    recipe = recipe_of(Path(generator))
    given = {
        "samples": n, "metrics": words(metrics) or None, "batch_size": batch_size, "temperature": temperature,
        "top_k": top_k, "top_p": top_p, "guidance": guidance, "steps": steps, "judge": judge,
        "bit_steps": bit_steps, "size": parse_size(size, "--size") if size else None,
    }  # fmt: skip
    base = recipe.evaluation.model_dump() if recipe else {}
    base |= {key: value for key, value in given.items() if value is not None}
    try:
        rates = [{"reject": rate} for rate in dict.fromkeys(reject or ())] or [{}]
        configs = [GeneratorEvaluationConfig(**{**base, **rate}) for rate in rates]
    except ValidationError as error:
        raise TokbenchError(explain(error)) from None
    if reference is not None and not reference.is_file():
        raise TokbenchError(f"--reference {reference}: no such file")
    first = configs[0]
    if first.judge is not None:
        check_ranks(first.judge)
    for metric in first.metrics or []:
        get(metric)  # a misspelt name costs a second, not a pass over the images
    file = records_of(out)
    Store(file).check()
    pair = Pipeline.load(generator, tokenizer, device=device(cpu))
    shape: Any = {"channels": pair.tokenizer.config.channels, "kind": pair.tokenizer.config.kind}
    every, rate_of_frames = frames_of(recipe)
    shape |= {"stride": stride or every, "fps": rate_of_frames if fps is None else fps}
    if recipe is not None:
        shape["crop"] = measured_by(recipe.data.crop)
    images = open_images(data, split, image_size=first.size or pair.image_size, limit=limit, **shape)  # type: ignore[arg-type]
    console = terminal(stderr=True)
    if images.share:
        console.print(images.share)
    resolved = recipe.resolved() if recipe else pair.generator.config.model_dump(mode="json")
    called = name or (recipe.name if recipe else Path(generator).resolve().name)
    asked: dict[str, Any] = {"generator": pair.generator.sha256(), "seed": seed}
    if reference is not None:
        asked["reference"] = hashlib.sha256(reference.read_bytes()).hexdigest()
    if train_images is not None:
        asked["train_images"] = train_images
    coded: CodedRate | None = None
    with tempfile.TemporaryDirectory(prefix="tokbench-") as candidates:  # of one rate there are those of a higher one
        for config in configs:
            with (
                progress_bar(console, transient=True) as bar,
                explained(f"measuring {config.batch_size} images at a time", *smaller_batch(config.batch_size)),
            ):
                task = bar.add_task("measuring", total=1.0)
                found = measure(
                    pair,
                    images,
                    config,
                    seed=seed,
                    reference=reference,
                    candidates=Path(candidates),
                    coded=coded,
                    train_images=train_images,
                    progress=lambda what, done: bar.update(task, description=what, completed=done),  # noqa: B023
                )
            coded = found.coded
            asked["data"] = images.fingerprint  # only now: captions that measuring asked for are part of it
            record = generator_record(
                pair.generator,
                pair.tokenizer,
                found.metrics,
                name=called if config.reject is None else f"{called}, {config.reject:g} kept by {config.judge}",
                recipe={**resolved, "evaluation": config.model_dump(mode="json")},  # as measured here
                cell=content_hash({**asked, "evaluation": unlike_default(config)}),
                seed=recipe.seed if recipe else None,
                data=found.data,
                timing=found.timing,
                weights_which=saved_weights(generator),
            )
            _show(found)
            keep(record, file)
            console.print(f"record {record.id} appended to {file}")


def _show(found: GeneratorEvaluation) -> None:
    """A row a metric; below, what needs saying."""
    from tokbench.printing import print_numbers, terminal

    rows = []
    for value in found.metrics.values():
        shown = "-" if value.value is None else f"{value.value:.4g}"
        error_bar = "" if value.stderr is None else f"{value.stderr:.2g}"
        rows.append([f"{value.label}{f' ({value.unit})' if value.unit else ''}", shown, error_bar, f"{value.n:,}"])
    print_numbers(terminal(), ["metric", "value", "±", "n"], rows, ["n", "±"])
    for line in [*(f"{v.label}: {v.note}" for v in found.metrics.values() if v.note), *found.warnings]:
        terminal(stderr=True).print(line)
    if (cost := found.timing.get("rejection")) is not None:
        terminal().print(f"{cost['drawn']:,} drawn, {cost['drawn_per_kept']:g} for each that {cost['judge']} kept")
