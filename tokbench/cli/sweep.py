"""tokbench sweep"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import Cpu, Set

_List = list[str] | None


def sweep(
    quantizer: Annotated[_List, typer.Option("--quantizer", "-q", help="tokbench list; e.g. vq,rq,lfq.")] = None,
    codebook_size: Annotated[_List, typer.Option("--codebook-size", "-k", help="e.g. 256,1024 or 2^14.")] = None,
    depth: Annotated[_List, typer.Option("--depth", "-d", help="Codes a position, e.g. 1,2,4,8.")] = None,
    bits: Annotated[
        _List, typer.Option("--bits", help="Bits a position: every quantizer at the same rate, e.g. 8,16.")
    ] = None,
    image_size: Annotated[_List, typer.Option("--image-size", help="Side in pixels, e.g. 64,128.")] = None,
    downsampling: Annotated[_List, typer.Option("--downsampling", help="Pixels a side of one code, e.g. 4,8.")] = None,
    code_dim: Annotated[_List, typer.Option("--code-dim", help="Channels handed to the quantizer.")] = None,
    seed: Annotated[_List, typer.Option("--seed", help="e.g. 0,1,2: tables show mean and spread.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="What every cell starts from: name or file.")] = "demo",
    overrides: Set = None,
    vary: Annotated[
        _List, typer.Option("--vary", metavar="KEY=A,B,...", help="Any recipe key as an axis of the grid.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for records, cells and tables.")] = Path("results"),
    again: Annotated[bool, typer.Option("--again", help="Run cells that are already in the records too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the cells; train nothing.")] = False,
    cpu: Cpu = False,
) -> None:
    """Train and measure a grid of tokenizers under one protocol and print the comparison table.

    Killed half-way, the same command continues where it stopped.
    """
    from tokbench.cli.options import numbers, words
    from tokbench.sweeps.grid import Grid
    from tokbench.sweeps.plan import Plan, print_plan
    from tokbench.sweeps.run import run_sweep

    grid = Grid(
        recipe=recipe,
        quantizers=words(quantizer),
        codebook_sizes=numbers("--codebook-size", codebook_size),
        depths=numbers("--depth", depth),
        bits=numbers("--bits", bits),
        image_sizes=numbers("--image-size", image_size),
        downsamplings=numbers("--downsampling", downsampling),
        code_dims=numbers("--code-dim", code_dim),
        seeds=numbers("--seed", seed),
        overrides=overrides or (),
        vary=vary or (),
    )
    if dry_run:
        print_plan(Plan.make(grid, None, out, again), out)
        return
    failed = run_sweep(grid, out, again=again, cpu=cpu)
    if failed:
        raise typer.Exit(1)
