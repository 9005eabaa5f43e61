"""``tokbench bench import``: published models beside the packages that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.cli.options import Cpu


def bench_import(
    models: Annotated[
        list[str] | None, typer.Argument(help="taming, diffusers, chameleon, janus: whose model; nothing: all.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed turns; the median is shown.")] = 5,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Also the peak of an import, in a process for each way.")
    ] = True,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Side of the images; nothing: the model's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
    cpu: Cpu = False,
) -> dict[str, Any]:
    """Import beside torch.load and load_state_dict, encode beside the official module, of the same (random) weights."""
    import json

    from tokbench.bench.importing import OURS
    from tokbench.bench.importing import bench_import as run
    from tokbench.cli.options import device
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    if out is not None:
        check_target(out, [])
    result = run(models or (), batch_size=batch_size, repeats=repeats, memory=memory, device=device(cpu), side=size)
    columns = ["model", "file", "import s", "of official", "peak of file", "encode ms", "of official"]
    rows = [
        (
            f"{row['model']} ({row['official']})",
            f"{row['bytes'] / 1e6:.0f} MB",
            f"{row['import'][OURS]:.2f}",
            f"{row['import']['ratio']:.2f}x",
            f"{row['peak_of_file']:.2f}x" if "peak_of_file" in row else "",
            f"{1000 * row['encode'][OURS]:.0f}",
            f"{row['encode']['ratio']:.3f}x",
        )
        for row in result["rows"]
    ]
    title = f"batch {batch_size}, {result['device']}"
    print_numbers(terminal(), columns, rows, ["file", "peak of file"], title=title)
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result
