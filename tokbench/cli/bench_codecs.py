"""tokbench bench codecs"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.cli.options import Cpu


def bench_codecs(
    source: Annotated[str, typer.Option("--data", help="Which videos, e.g. clips or folder:PATH.")],
    size: Annotated[
        str, typer.Option("--size", help="FRAMESxHEIGHTxWIDTH of a video; sides are multiples of 8.")
    ] = "51x128x128",
    codecs: Annotated[
        list[str] | None, typer.Option("--codecs", help="x264,x265,kvazaar,vvenc,svt-av1; default all.")
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames of a clip, which is coded alone.")] = 17,
    period: Annotated[
        int, typer.Option("--intra-period", min=32, help="Of random access, in frames: a multiple of 32.")
    ] = 32,
    tokenizers: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            help="A tokenizer's folder, to stand beside under its quantizer's name, or its own where two share that; "
            "repeatable.",
        ),
    ] = None,
    generator: Annotated[
        str | None, typer.Option("--generator", help="A generator of the tokenizer's codes: its model-coded rate too.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many videos.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw rate and distortion: .svg, .pdf or .png.")
    ] = None,
    cpu: Cpu = False,
) -> dict[str, Any]:
    """Bits per pixel and quality of video codecs on clips, and of tokenizers beside them."""
    import json
    from collections import Counter

    from tokbench.bench.codecs import chosen, ffmpeg
    from tokbench.bench.rate_distortion import bench_codecs as run
    from tokbench.bench.token_rates import contender
    from tokbench.cli.options import device, words
    from tokbench.config.grid import axes, parse_size
    from tokbench.data import open_images
    from tokbench.errors import TokbenchError, counted
    from tokbench.generators import Generator
    from tokbench.metrics.batches import batches
    from tokbench.metrics.comparing import names
    from tokbench.models import Tokenizer
    from tokbench.printing import print_numbers, progress_bar, terminal
    from tokbench.results.figures import save
    from tokbench.results.figures.base import check_format
    from tokbench.results.figures.codecs import caption, coded_as, draw_codecs, label
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    encoders = chosen(words(codecs) or None)
    shape = parse_size(size, "--size")
    if len(axes(shape)) != 3:
        raise TokbenchError(f"--size {size}: codecs take videos, FRAMESxHEIGHTxWIDTH such as 51x128x128")
    if generator is not None and len(tokenizers or ()) != 1:
        raise TokbenchError("--generator goes with one --tokenizer, whose codes it models")
    if figure is not None:
        check_format(figure)
    for target in (out, figure):
        if target is not None:
            check_target(target, tokenizers or ())
    ffmpeg()
    where = device(cpu)
    model = None if generator is None else Generator.from_pretrained(generator)
    loaded = [Tokenizer.from_pretrained(folder) for folder in tokenizers or ()]
    called = [tokenizer.quantizer.name for tokenizer in loaded]
    if len(set(called)) < len(called):
        called = names(tokenizers or ())
    beside = [contender(name, each, model, where) for name, each in zip(called, loaded, strict=True)]
    videos = open_images(source, "eval", image_size=shape, limit=limit)
    clips = [clip for batch, _ in batches(videos, 1) for clip in batch]
    with progress_bar(terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("coding", total=None)
        result = run(
            clips, encoders, frames=frames, period=period, beside=beside,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    result = {"data": source, "protocol": videos.protocol, "fingerprint": videos.fingerprint, **result}
    metrics = list(result["rows"][0]["metrics"])
    headers = ["name", "coded as", "quality", "bpp", "with headers", *map(label, metrics)]
    title = f"{source}: {counted(result['frames'], 'frame')} of {counted(result['videos'], 'video')}, {size}"
    rows = []
    for row in result["rows"]:
        quality = "" if row["quality"] is None else f"{row['quality']}"
        stream = "" if row["bpp_stream"] is None else f"{row['bpp_stream']:.4f}"
        found = [f"{row['metrics'][name]:.4g}" for name in metrics]
        rows.append([row["name"], coded_as(row), quality, f"{row['bpp']:.4f}", stream, *found])
    console = terminal()
    print_numbers(console, headers, rows, ["with headers", *map(label, metrics[:0:-1])], title=title)
    for why, points in Counter(each["why"] for each in result["refused"]).items():
        console.print(f"left out, {counted(points, 'row')}: {why}")
    for why in result["unavailable"].values():
        console.print(f"without a value: {why}")
    console.print(caption(result))
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    if figure is not None:
        save(draw_codecs(result), figure)
    return result
