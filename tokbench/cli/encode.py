"""tokbench encode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.cli.options import TOKENIZER, Cpu, Workers


def encode(
    tokenizer: Annotated[str, typer.Argument(help=TOKENIZER)],
    data: Annotated[str, typer.Option("--data", help="Images: photos, folder:PATH, ... (tokbench list data).")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the code cache; a recipe's data.source is codes:OUT.")],
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", help="A side, HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH; default the tokenizer's own."),
    ] = None,
    crop: Annotated[str | None, typer.Option("--crop", help="How training images become square.")] = None,
    flip: Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the training images.")] = True,
    passes: Annotated[int, typer.Option("--passes", min=1, help="Passes over the training images.")] = 1,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Of clips: one of every so many frames.")] = 1,
    fps: Annotated[float | None, typer.Option("--fps", help="Of clips: frames a second, by the video's times.")] = None,
    latents: Annotated[
        bool, typer.Option("--latents", help="Keep latents too, for soft targets and stochastic codes.")
    ] = False,
    condition: Annotated[
        str | None,
        typer.Option("--condition", help="Of pairs (folder:A,masks=B): the tokenizer of what goes with the images."),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions", help="Keep the images' captions, for generators of texts.")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many training images.")] = None,
    eval_limit: Annotated[int | None, typer.Option("--eval-limit", min=1, help="At most so many held out.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 64,
    workers: Workers = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random crops and flips.")] = 0,
    cpu: Cpu = False,
) -> None:
    """Encode images once into a code cache, so that a generator trains without the encoder.

    Killed or interrupted, the same command continues where it stopped.
    """

    from tokbench.cli.options import device, size_of, smaller_batch
    from tokbench.codes.encoding import already_written, write_codes
    from tokbench.config.crop import measured_by
    from tokbench.data import open_images
    from tokbench.data.base import Split
    from tokbench.errors import counted, noun_of, size_text
    from tokbench.generators.pairs import conditioned
    from tokbench.memory import explained
    from tokbench.models import Tokenizer
    from tokbench.printing import progress_bar, terminal

    splits: tuple[Split, ...] = ("train", "eval")
    model = Tokenizer.from_pretrained(tokenizer).to(device(cpu)).eval()
    size = size_of(model, image_size, "--image-size")
    pairs = conditioned(data, condition, size, device(cpu))
    console = terminal(stderr=True)
    advice = smaller_batch(batch_size, "--image-size SIZE, a multiple of the downsampling")
    with (
        progress_bar(console) as bar,
        explained(f"encoding {batch_size} {noun_of(size)}s of {size_text(size)} at a time", *advice),
    ):
        for split in splits:
            training = split == "train"
            images = open_images(
                data,
                split,
                image_size=size,
                crop=crop if training else measured_by(crop),
                flip=flip and training,
                seed=seed,
                limit=limit if training else eval_limit,
                channels=model.config.channels,
                kind=model.config.kind,
                stride=stride,
                fps=fps,
            )
            if images.share:
                bar.console.print(images.share)
            if captions:
                images.read_captions()
            asked: Any = {"source": tokenizer, "passes": passes if training else 1, "latents": latents}
            asked["captions"] = captions
            asked["condition"] = pairs.config if pairs is not None else None
            if pairs is not None:
                images.label_count = pairs.labels  # type: ignore[attr-defined]
            if count := already_written(model, images, out, **asked):
                bar.console.print(f"{split}: {counted(count, noun_of(size))}, there already")
                continue
            task = bar.add_task(split, total=None)

            def report(done: int, total: int, task: int = task) -> None:
                bar.update(task, completed=done, total=total)  # type: ignore[arg-type]

            count = write_codes(
                model,
                images,
                out / split,
                batch_size=batch_size,
                workers=workers,
                progress=report,
                partners=pairs.codes if pairs is not None else None,
                **asked,
            )
            for path, reason in images.skipped[:5]:
                bar.console.print(f"skipped {path}: {reason}")
            bar.console.print(f"{split}: {counted(count, noun_of(size))}, {images.view.describe()}")
    other = f" data.channels={model.config.channels}" if model.config.channels != 3 else ""
    other += f" data.kind={model.config.kind}" if model.config.kind != "image" else ""
    other += f" data.stride={stride}" if stride != 1 else ""
    other += f" data.fps={fps:g}" if fps is not None else ""
    console.print(
        f"use it: data.source=codes:{out} data.image_size={size if isinstance(size, int) else size_text(size)}{other}"
    )
