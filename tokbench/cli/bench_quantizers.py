"""tokbench bench quantizers"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.cli.options import Cpu


def quantizers(
    only: Annotated[
        str | None,
        typer.Option("--only", help="Run only the cases whose label contains this; their file is named after it."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed turns; the median is shown.")] = 5,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Also measure peak memory; without, a file of its own.")
    ] = True,
    heavy: Annotated[
        bool, typer.Option("--heavy", help="Run vector-quantize-pytorch's LFQ at 2^16 too: 7.4 GiB, minutes.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the JSON file with everything measured.")] = Path(
        "results/bench"
    ),
    cpu: Cpu = False,
) -> dict[str, Any]:
    """Training steps of VQ, RQ and LFQ beside vector-quantize-pytorch's: time, memory, ratio, floor."""
    import json

    from tokbench.bench.quantizers import bench_quantizers
    from tokbench.cli.options import device
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_writable

    check_writable(out / "quantizers.json")
    result = bench_quantizers(device=device(cpu), only=only, repeats=repeats, memory=memory, heavy=heavy)
    load = f", load {result['load']:.1f} at the start" if result["load"] is not None else ""
    title = f"Train step, fp32, {result['device']}, {result['threads']} threads{load}"
    columns = ("case", "seconds", "vqp seconds", "ratio", "matrix product", "peak MiB", "vqp peak MiB")
    rows = []
    for row in result["rows"]:
        cells = [f"{row['seconds']:.4f}", _shown(row["theirs_seconds"], ".4f"), _shown(row["ratio"], ".1f", "x")]
        cells += [_shown(row["floor_seconds"], ".4f")]
        cells += [_shown(row[key], ".0f") for key in ("peak_mib", "theirs_peak_mib")]
        rows.append([row["case"], *cells])
    print_numbers(terminal(), columns, rows, ["matrix product", "vqp peak MiB", "vqp seconds"], title=title)
    path = out / f"quantizers-{_part(only, memory)}{'cpu' if result['device'] == 'CPU' else 'gpu'}.json"
    write(path, json.dumps(result, indent=2) + "\n")
    terminal().print(f"written to {path}")
    return result


def _part(only: str | None, memory: bool) -> str:
    """What tells the file of some cases, or of time alone, from that of all, which is not written over by them."""
    cases = ["-".join(re.findall(r"[a-z0-9]+", only.lower())) or "part"] if only else []
    return "".join(f"{part}-" for part in (*cases, *([] if memory else ["no-memory"])))


def _shown(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
