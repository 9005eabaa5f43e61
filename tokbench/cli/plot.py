"""``tokbench plot``: figures for papers from the records."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Figure(str, Enum):
    """The figures there are."""

    rate_distortion = "rate-distortion"
    codebook = "codebook"
    depth = "depth"
    compute = "compute"
    acceptance = "acceptance"
    reading = "reading"
    usage = "usage"
    positions = "positions"
    training = "training"
    speed = "speed"


def plot(
    figure: Annotated[Figure, typer.Argument(help="what to draw")],
    results: Annotated[Path, typer.Argument(help="the records")] = Path("results/runs.jsonl"),
    metric: Annotated[
        str | None,
        typer.Option(help="what is on the y axis: psnr, lpips, rfid, gfid, ... (default: what the figure is about)"),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="only such rows: quantizer=rq,vq  K=256  (repeat: all must hold)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="FIGURE.svg, .pdf or .png")] = None,
) -> None:
    """A figure: quality against rate, codebook size, depth, compute or acceptance; text read; speed; code usage; the
    NLL of each position; training."""
    from tokbench.cli._results import check_page, load
    from tokbench.printing import say
    from tokbench.results.figures import draw, save
    from tokbench.results.select import where as select

    folder = results if results.is_dir() else results.parent
    path = out or Path(f"{figure.value}.svg")
    records = load(results)
    check_page(path, records, results)
    save(draw(figure.value, select(records, where or []), folder, metric), path)
    say(f"wrote {path}")
