"""``tokbench bench load``: how training holds up on a machine that others use too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def bench_load(
    busy: Annotated[
        int, typer.Option(min=0, help="Processes beside the training that keep a core busy. 0: only alone.")
    ] = 8,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the demo in each run.")] = 100,
    seconds: Annotated[float, typer.Option(min=1, help="Most seconds of a run, from its first step on.")] = 120.0,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs of each kind, in turns.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
) -> dict[str, Any]:
    """Steps a second of the demo, alone and beside busy processes: threads chosen by the load against one a core."""
    import json
    from statistics import median

    from tokbench.bench.load import CHOSEN, FIXED
    from tokbench.bench.load import bench_load as run
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write

    result = run(busy=busy, steps=steps, seconds=seconds, repeats=repeats)
    rows = []
    for row in result["rows"]:
        found = [row["steps_per_second"][kind] for kind in (CHOSEN, FIXED)]
        rates = [f"{median(kind):.3g} ({min(kind):.3g} to {max(kind):.3g})" for kind in found]
        rows.append([str(row["busy"]), *rates, str(sum(row["changes"])), f"{row['ratio']:.2f}"])
    title = f"demo, {result['cores']} cores, steps per second: median (range) of {repeats}"
    print_numbers(terminal(), ["busy", CHOSEN, FIXED, "changes", "ratio"], rows, [], title=title)
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result
