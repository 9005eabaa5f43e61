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

    from tokbench.bench.load import CHOSEN, FIXED
    from tokbench.bench.load import bench_load as run
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write

    result = run(busy=busy, steps=steps, seconds=seconds, repeats=repeats)
    rows = []
    for row in result["rows"]:
        rates = [", ".join(f"{rate:.3g}" for rate in row["steps_per_second"][kind]) for kind in (CHOSEN, FIXED)]
        rows.append([str(row["busy"]), *rates, ", ".join(map(str, row["changes"])), f"{row['ratio']:.2f}"])
    title = f"demo, {result['cores']} cores, steps per second"
    print_numbers(terminal(), ["busy processes", CHOSEN, FIXED, "changes of threads", "ratio"], rows, [], title=title)
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result
