"""``tokbench bench data``: does loading keep up with training?"""

from __future__ import annotations

from typing import Annotated

import typer


def data(
    source: Annotated[str, typer.Option("--data", help="Which images; see `tokbench list data`.")] = "photos",
    image_size: Annotated[
        str, typer.Option(help="64, HEIGHTxWIDTH, or FRAMESxHEIGHTxWIDTH of videos, which are timed beside PyAV alone.")
    ] = "64",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 64,
    workers: Annotated[
        list[str] | None, typer.Option(help="Worker processes to try, e.g. 0,2,4; default 0,1,2,4... up to the cores.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure each.")] = 3.0,
    crop: Annotated[str | None, typer.Option(help="How images become square; default random.")] = None,
    flip: Annotated[bool, typer.Option(help="Mirror half of them.")] = True,
    need: Annotated[
        float | None, typer.Option(min=0, help="Images per second that training takes: marks what keeps up with it.")
    ] = None,
) -> None:
    """Images per second by the number of worker processes, as a training run would load them."""

    from tokbench.cli.options import numbers
    from tokbench.config.grid import axes, parse_size
    from tokbench.cores import available
    from tokbench.data import open_images
    from tokbench.data.throughput import beside_pyav, measure
    from tokbench.printing import print_numbers, terminal

    cores = available()
    tried = sorted(set(numbers("--workers", workers))) or [0, *(n for n in (1, 2, 4, 8, 16) if n <= cores)]
    size = parse_size(image_size, "--image-size")
    clips = len(axes(size)) == 3
    images = open_images(source, "train", image_size=size, crop=crop, flip=flip)
    console = terminal()
    console.print(images.describe())
    headers = ["workers", "clips/s" if clips else "images/s", "x 0 workers" if tried[0] == 0 else f"x {tried[0]}"]
    headers += ["first batch, s"] + ([f"keeps up with {need:,.0f}/s"] if need is not None else [])
    rows = []
    first = None
    for count in tried:
        with console.status(f"{count} workers"):
            result = measure(images, batch_size=batch_size, workers=count, seconds=seconds)
        rate = result.images_per_second
        first = first or rate
        row = [str(count), f"{rate:,.0f}", f"{rate / first:.2f}", f"{result.first_batch:.2f}"]
        if need is not None:
            row.append("yes" if rate >= need else f"no: {need / rate:.1f} times too slow")
        rows.append(row)
    print_numbers(console, headers, rows, ["first batch, s"])
    console.print(f"batch {batch_size}, {cores} CPU cores, {seconds:g} s each", style="dim")
    if clips:
        every = open_images(source, "train", image_size=size, crop=crop or "adm", windows="all")
        found = beside_pyav(every, seconds=seconds)  # type: ignore[arg-type]
        rgb, bare = found.clips / found.decoded_to_rgb, found.clips / found.decoded
        console.print(f"clips one behind another, one process: {found.clips:,.0f} frames a CPU second")
        console.print(f"both decode a video from its front to the end of its last clip: {found.part:.0%} of the frames")
        console.print(f"{rgb:.2f} times PyAV's own rate to RGB arrays ({found.decoded_to_rgb:,.0f})")
        console.print(f"{bare:.2f} times PyAV's own rate of decoding alone ({found.decoded:,.0f})")
    for path, reason in images.skipped[:10]:
        console.print(f"skipped {path}: {reason}")
