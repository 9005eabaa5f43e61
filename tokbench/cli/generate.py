"""tokbench generate"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import Cpu, ImageFolder


def generate(
    generator: Annotated[str, typer.Argument(help="A generator's folder, or a model hub id.")],
    out: ImageFolder = Path("generated"),
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many images.")] = 16,
    classes: Annotated[
        list[int] | None, typer.Option("--class", help="Class id; may be given often. Default: all in turn.")
    ] = None,
    conditions: Annotated[
        list[Path] | None,
        typer.Option("--condition", help="A depth map, mask or image to draw from; may be given often, in turn."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="What to draw, of a generator trained on captions; several: in turn."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest code.")] = 1.0,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Only the k likeliest codes.")] = None,
    top_p: Annotated[float, typer.Option("--top-p", help="Only the likeliest codes that reach p together.")] = 1.0,
    guidance: Annotated[float, typer.Option("--guidance", help="s in u + s (c - u); 1 is none.")] = 1.0,
    guidance_schedule: Annotated[
        str, typer.Option("--guidance-schedule", help="constant, or linear / cosine from 1 up; var: scales.")
    ] = "constant",
    steps: Annotated[int, typer.Option("--steps", help="Decoding steps (mlm).")] = 12,
    choice_temperature: Annotated[float, typer.Option("--choice-temperature", help="Of what is kept (mlm).")] = 4.5,
    mask_schedule: Annotated[str, typer.Option("--mask-schedule", help="cosine, arccos or linear (mlm).")] = "cosine",
    bit_steps: Annotated[
        int | None, typer.Option("--bit-steps", help="Steps for the bits of a position (head masked-bits).")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="Complete this image instead of starting from nothing.")
    ] = None,
    keep: Annotated[
        str,
        typer.Option("--keep", help="What stays of --image: top:0.5; mlm also bottom, left, right, inside, outside."),
    ] = "top:0.5",
    size: Annotated[
        str | None,
        typer.Option("--size", help="In pixels, HEIGHTxWIDTH: beyond its own size by a window that slides (ar)."),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(
            "--reject", help="Keep this share of the images of each class or text: those --judge is surest of."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="efficientnet-lite0 (1, 2), timm:NAME, timm:NAME=FILE; of texts clip:NAME."),
    ] = None,
    given: Annotated[
        Path | None, typer.Option("--given", help="Clips: go on from the first frames of this video.")
    ] = None,
    given_frames: Annotated[
        int | None, typer.Option("--given-frames", min=1, help="How many; default what the generator was trained with.")
    ] = None,
    given_stride: Annotated[
        int | None, typer.Option("--given-stride", min=1, help="One of every so many; default the recipe's.")
    ] = None,
    given_fps: Annotated[
        float | None, typer.Option("--given-fps", help="So many a second, by its times; default the recipe's.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Clips: draw so many frames, sliding in time beyond its own.")
    ] = None,
    film: Annotated[str, typer.Option("--film", help="Clips: mp4 or gif.")] = "mp4",
    fps: Annotated[
        float | None, typer.Option("--fps", help="Clips: frames shown a second; default the recipe's, or 25.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", help="Where the tokenizer lies now.")] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto (bf16 on a GPU), fp32, bf16.")] = "auto",
    cpu: Cpu = False,
) -> None:
    """Draw images from a generator: PNG files and a grid. The same command again continues where it stopped.

    Clips are films, with a PNG strip of frames beside each and a grid of the strips.

    Image i of a seed has the same codes whatever -n and --batch-size are (short of a near tie in rounding), and the
    same pixels, to the bit, where a run that was stopped continues with the same -n and --batch-size.
    """

    from tokbench.cli.generating import Settings, generate_files
    from tokbench.cli.options import device, smaller_batch
    from tokbench.config.grid import parse_size
    from tokbench.errors import TokbenchError, counted
    from tokbench.generators import Sampling
    from tokbench.memory import explained
    from tokbench.printing import progress_bar, terminal
    from tokbench.training.generator_evaluation import frames_of, recipe_of

    if given is None and (given_stride, given_fps) != (None, None):
        raise TokbenchError("--given-stride and --given-fps go with --given")
    stride, rate = frames_of(recipe_of(Path(generator)))
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
        guidance_schedule=guidance_schedule,  # type: ignore[arg-type]
        steps=steps,
        choice_temperature=choice_temperature,
        mask_schedule=mask_schedule,  # type: ignore[arg-type]
        bit_steps=bit_steps,
    )
    settings = Settings(
        generator=generator,
        tokenizer=tokenizer,
        classes=tuple(classes or ()),
        conditions=tuple(conditions or ()),
        texts=tuple(texts or ()),
        seed=seed,
        sampling=sampling,
        image=image,
        keep=keep,
        precision=precision,
        given=given,
        given_frames=given_frames,
        given_stride=given_stride or stride,
        given_fps=rate if given_fps is None else given_fps,
        frames=frames,
        film=film,
        fps=fps if fps is not None else rate / stride if rate else 25.0,
        reject=reject,
        judge=judge,
        size=parse_size(size, "--size") if size else None,
    )
    console = terminal(stderr=True)
    bar = progress_bar(console)
    task = bar.add_task("drawing", total=1.0)
    advice = smaller_batch(batch_size, "--precision bf16")
    with ExitStack() as shown, explained(f"drawing {batch_size} images at a time", *advice):

        def progress(share: float) -> None:
            if not bar.live.is_started:  # not before something is drawn: a mistake is one line and no bar
                shown.enter_context(bar)
            bar.update(task, completed=share)

        done = generate_files(
            settings,
            n,
            out,
            batch_size=batch_size,
            device=device(cpu),
            progress=progress,
        )
    what = "clip" if (out / f"000000.{film}").exists() else "image"
    console.print(f"{counted(done, f'new {what}')} in {out}, the first of them in {out / 'grid.png'}")
