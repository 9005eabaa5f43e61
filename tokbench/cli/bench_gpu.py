"""tokbench bench gpu"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tokbench.bench.gpu.run import Found
    from tokbench.bench.gpu.step import Step

_FOLDER, _REHEARSALS = Path("results/bench/gpu"), Path("runs/gpu-rehearsal")


def bench_gpu(
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="No step runs longer than this.")] = 25.0,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="STEPS", help="These, done or not; --dry-run names them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, and what an H100 should take for it: estimates.")
    ] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Every step's code at tiny sizes on the CPU; its numbers mean nothing.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", help="What rows are trained on: folder:PATH ...; default a bundle's, else photos."),
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", help="A folder of what was brought along (make gpu-bundle).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help=f"Folder of the records; default {_FOLDER}, {_REHEARSALS}.")
    ] = None,
) -> None:
    """All that only a GPU can show, in steps: the most telling first, each with a record the moment it ends.

    A second call does what is left, and what failed once more. Exits with 1 where a step failed or missed its bar.
    """
    import torch

    from tokbench.bench.gpu.plan import chosen
    from tokbench.bench.gpu.run import run
    from tokbench.bench.gpu.step import Setting
    from tokbench.bench.gpu.unpacking import IMAGES, unpack
    from tokbench.cli.options import words
    from tokbench.data import open_images
    from tokbench.errors import TokbenchError
    from tokbench.printing import say, terminal
    from tokbench.results.targets import check_writable

    keys = words(only)
    if dry_run:
        _plan(terminal(), chosen(keys))
        return
    if not rehearse and not torch.cuda.is_available():
        raise TokbenchError("no GPU here: --rehearse runs every step small on the CPU, --dry-run prints the plan")
    folder = out or (_REHEARSALS if rehearse else _FOLDER)
    check_writable(folder / "step.json")
    folder.mkdir(parents=True, exist_ok=True)
    for line in unpack(bundle or []):
        say(line)
    if data is not None:
        open_images(data, "train", image_size=64)  # what is not there is better known before the first step
    brought = f"zip:{IMAGES}" if bundle and IMAGES.is_file() else "photos"
    setting = Setting("cpu" if rehearse else "cuda", rehearse, folder, data or brought)
    results = run(setting, minutes=minutes, only=keys, say=say)
    _table(terminal(), results)
    say(f"records in {folder}")
    missed = [bar for r in results for bar in r.bars if not bar.met and not rehearse]
    if missed or any(r.state == "failed" for r in results):
        raise typer.Exit(1)


def _plan(console: Console, steps: list[Step]) -> None:
    from tokbench.bench.gpu.account import ASSUMPTION
    from tokbench.bench.gpu.memory import large

    rows, total = [], 0.0
    for step in steps:
        work = step.work()
        total += step.fixed + work.seconds
        counted = [f"{work.flops / 1e12:,.0f}", f"{work.bytes / 1e9:,.0f}"] if work.seconds else ["", ""]
        rows.append([step.key, step.asks, *counted, f"{step.fixed + work.seconds:.0f}", f"{step.most:.0f}"])
    _print(console, ["step", "asks", "TFLOP", "GB", "s (estimate)", "most s"], 2, rows, ["GB", "TFLOP", "asks"])
    console.print(f"{total / 60:.0f} minutes together; {ASSUMPTION}.")
    sizes = []
    for name, work in large():
        cells = [f"{work.flops / 1e12:,.1f}", f"{work.bytes / 1e9:,.0f}", f"{work.peak / 2**30:.1f}"]
        sizes.append([name, *cells, f"{work.seconds:.3f}"])
    _print(console, ["what is large", "TFLOP", "GB", "peak GiB", "s (estimate)"], 1, sizes, ["GB", "TFLOP"])


def _table(console: Console, results: list[Found]) -> None:
    rows = []
    for found in results:
        met = sum(bar.met for bar in found.bars)
        bars = f"{met} of {len(found.bars)}" if found.bars else ""
        seconds = "" if found.seconds is None else f"{found.seconds:.0f}"
        rows.append([found.step.key, found.state or "left", seconds, bars, found.says])
    _print(console, ["step", "state", "s", "bars met", "found"], 2, rows, [])


def _print(console: Console, headers: list[str], words: int, rows: list[list[str]], dispensable: list[str]) -> None:
    """A table whose first ``words`` columns and the one that says what was found hold text, and all others numbers."""
    from tokbench.printing import fitted

    columns: list[Any] = [(h, "left" if i < words or h == "found" else "right") for i, h in enumerate(headers)]
    console.print(fitted(console, columns, rows, dispensable)[0])
