"""tokbench bench metrics"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.cli.options import Cpu


def bench_metrics(
    source: Annotated[str, typer.Option("--data", help="Which images; see `tokbench list data`.")] = "photos",
    image_size: Annotated[str, typer.Option("--image-size", help="64, HEIGHTxWIDTH, or FRAMESxHEIGHTxWIDTH.")] = "256",
    metrics: Annotated[
        list[str] | None, typer.Option("--metrics", help="Names, e.g. psnr,ssim; default all that work here.")
    ] = None,
    count: Annotated[int, typer.Option("--images", min=1, help="Images in a turn.")] = 16,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed turns; the median is shown.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
    cpu: Cpu = False,
) -> dict[str, Any]:
    """What each metric adds to the time of the Inception network, alone and all in one pass."""
    import json

    from tokbench.bench.metrics import bench_metrics as run
    from tokbench.cli.options import device, words
    from tokbench.config.grid import parse_size
    from tokbench.data import open_images
    from tokbench.errors import size_text
    from tokbench.printing import print_numbers, progress_bar, terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    if out is not None:
        check_target(out)
    images = open_images(source, "eval", image_size=parse_size(image_size, "--image-size"))
    with progress_bar(terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("timing", total=None)
        result = run(
            images, words(metrics) or None, count=count, repeats=repeats, device=device(cpu),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    n = result["images"]
    title = f"{source} {size_text(images.image_size)}, {n} pairs, {result['device']}"
    rows = []
    for row in result["rows"]:
        whole = row["name"].startswith(("Inception", "everything"))
        ratios = [f"{row[key]:.2f}x" if whole else f"+{100 * row[key]:.1f} %" for key in ("ratio", "ratio_cached")]
        rows.append([row["name"], f"{row['seconds']:.3f}", f"{n / row['seconds']:.1f}", *ratios])
    headers = ["metric", "s", "pairs/s", "beside Inception", "originals known"]
    print_numbers(terminal(), headers, rows, ["pairs/s", "originals known"], title=title)
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result
