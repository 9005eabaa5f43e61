"""tokbench sweep"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tokbench.cli.options import Cpu, Set

_List = list[str] | None
_GRID, _STAGE2, _WHERE = "Grid", "Generators", "Where it runs"


def sweep(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="The options as YAML keys (recipes/sweeps has an example).")
    ] = None,
    quantizer: Annotated[
        _List, typer.Option("--quantizer", "-q", help="tokbench list; e.g. vq,rq,lfq.", rich_help_panel=_GRID)
    ] = None,
    codebook_size: Annotated[
        _List, typer.Option("--codebook-size", "-k", help="e.g. 256,1024 or 2^14.", rich_help_panel=_GRID)
    ] = None,
    depth: Annotated[
        _List, typer.Option("--depth", "-d", help="Codes a position, e.g. 1,2,4,8.", rich_help_panel=_GRID)
    ] = None,
    bits: Annotated[
        _List,
        typer.Option(
            "--bits", help="Bits a position: every quantizer at the same rate, e.g. 8,16.", rich_help_panel=_GRID
        ),
    ] = None,
    image_size: Annotated[
        _List, typer.Option("--image-size", help="Side in pixels, e.g. 64,128.", rich_help_panel=_GRID)
    ] = None,
    downsampling: Annotated[
        _List, typer.Option("--downsampling", help="Pixels a side of one code, e.g. 4,8.", rich_help_panel=_GRID)
    ] = None,
    code_dim: Annotated[
        _List, typer.Option("--code-dim", help="Channels handed to the quantizer.", rich_help_panel=_GRID)
    ] = None,
    encoder: Annotated[
        _List,
        typer.Option(
            "--encoder", help="Architectures (tokbench list); settings they share stay.", rich_help_panel=_GRID
        ),
    ] = None,
    seed: Annotated[
        _List, typer.Option("--seed", help="e.g. 0,1,2: tables show mean and spread.", rich_help_panel=_GRID)
    ] = None,
    vary: Annotated[
        _List,
        typer.Option(
            "--vary", metavar="KEY=A,B,...", help="Any recipe key as an axis of the grid.", rich_help_panel=_GRID
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="What every cell starts from: name or file; default demo.")
    ] = None,
    overrides: Set = None,
    generator: Annotated[
        _List, typer.Option("--generator", help="ar, mlm or both, on every tokenizer.", rich_help_panel=_STAGE2)
    ] = None,
    generator_recipe: Annotated[
        _List,
        typer.Option(
            "--generator-recipe",
            metavar="[KIND=]NAME",
            help="Its recipe; {generator} stands for the kind. Default generators/demo-{generator}.",
            rich_help_panel=_STAGE2,
        ),
    ] = None,
    set_generator: Annotated[
        _List,
        typer.Option(
            "--set-generator",
            metavar="[KIND:]KEY=VALUE",
            help="Change a key of the generators' recipe, e.g. training.steps=2000.",
            rich_help_panel=_STAGE2,
        ),
    ] = None,
    encode_passes: Annotated[
        int | None,
        typer.Option(
            "--encode-passes", min=1, help="Passes over the training pictures; default 1.", rich_help_panel=_STAGE2
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder for records, cells and tables; default results.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Cells side by side, over the visible GPUs.", rich_help_panel=_WHERE),
    ] = None,
    gpus_per_cell: Annotated[
        int | None,
        typer.Option(
            "--gpus-per-cell", min=1, help="More than one: each cell under accelerate launch.", rich_help_panel=_WHERE
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="slurm: an array of jobs; local: submitit's own.", rich_help_panel=_WHERE),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="SLURM's.", rich_help_panel=_WHERE)] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="Limit of a job: minutes or h:mm:ss; default a day.", rich_help_panel=_WHERE),
    ] = None,
    cpus_per_cell: Annotated[
        int | None, typer.Option("--cpus-per-cell", min=1, help="SLURM's cpus-per-task.", rich_help_panel=_WHERE)
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="SLURM's mem, e.g. 32GB.", rich_help_panel=_WHERE)
    ] = None,
    slurm: Annotated[
        _List,
        typer.Option("--slurm", metavar="KEY=VALUE", help="Any other option of sbatch.", rich_help_panel=_WHERE),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run cells that are already in the records too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells with rate, parameters and time; train nothing.")
    ] = False,
    cpu: Cpu = False,
) -> None:
    """Train and measure a grid of tokenizers, and generators on their codes, and print the comparison table.

    Killed half-way, the same command continues where it stopped.
    """
    from pathlib import Path

    from tokbench.cli.options import numbers, words
    from tokbench.sweeps.settings import load_sweep

    given: dict[str, Any] = {
        "quantizer": quantizer and words(quantizer),
        "codebook_size": codebook_size and numbers("--codebook-size", codebook_size),
        "depth": depth and numbers("--depth", depth),
        "bits": bits and numbers("--bits", bits),
        "image_size": image_size and numbers("--image-size", image_size),
        "downsampling": downsampling and numbers("--downsampling", downsampling),
        "code_dim": code_dim and numbers("--code-dim", code_dim),
        "encoder": encoder and words(encoder),
        "seed": seed and numbers("--seed", seed),
        "vary": vary,
        "recipe": recipe,
        "set": overrides,
        "generator": generator and words(generator),
        "generator_recipe": generator_recipe and words(generator_recipe),
        "set_generator": set_generator,
        "encode_passes": encode_passes,
        "out": out,
        "jobs": jobs,
        "gpus_per_cell": gpus_per_cell,
        "cluster": cluster,
        "partition": partition,
        "time": time,
        "cpus_per_cell": cpus_per_cell,
        "memory": memory,
        "slurm": slurm,
    }
    settings = load_sweep(file, {key: value for key, value in given.items() if value is not None})

    from tokbench.sweeps.plan import Plan, print_plan
    from tokbench.sweeps.run import from_settings, run_sweep

    grid, generators = from_settings(settings)
    if dry_run:
        print_plan(Plan.make(grid, generators, Path(settings.out), again), Path(settings.out))
        return
    if run_sweep(grid, Path(settings.out), generators=generators, again=again, cpu=cpu, how=settings):
        raise typer.Exit(1)
