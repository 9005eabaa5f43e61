"""tokbench compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import TOKENIZER, Cpu, Data, Limit, Metrics, Protocol, Results, Split, Workers


def compare(
    tokenizers: Annotated[list[str], typer.Argument(help=f"{TOKENIZER} As many as you like.")],
    data: Data,
    split: Split = "eval",
    size: Annotated[
        str | None,
        typer.Option("--size", help="A side, HEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH; default each tokenizer's own."),
    ] = None,
    metrics: Metrics = None,
    protocol: Protocol = "tokbench-v1",
    limit: Limit = None,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Of clips: one of every so many frames.")] = 1,
    fps: Annotated[float | None, typer.Option("--fps", help="Of clips: frames per second, by the times.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Halved where memory ends.")] = 64,
    workers: Workers = 0,
    results: Results = Path("results/runs.jsonl"),
    out: Annotated[Path | None, typer.Option("--out", help="Also write the table (.md, .csv, ...).")] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw rate and distortion: .svg, .pdf or .png.")
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="The figure's.")] = "psnr",
    cpu: Cpu = False,
) -> None:
    """Measure tokenizers, published ones and yours, on the same images, and show them beside what was published.

    A record each; what was measured before is not measured again, so a broken-off comparison goes on.
    """
    from tokbench.cli._results import emit, keep
    from tokbench.cli.options import device, words
    from tokbench.cli.table import by_suffix
    from tokbench.config.crop import PROTOCOLS
    from tokbench.config.grid import parse_size
    from tokbench.errors import TokbenchError
    from tokbench.metrics import get
    from tokbench.metrics.comparing import Request, measured
    from tokbench.pretrained import catalogue
    from tokbench.printing import progress_bar, say, terminal
    from tokbench.results import table as tables
    from tokbench.results.figures.base import check_format, save
    from tokbench.results.figures.world import draw_world
    from tokbench.results.store import Store, records_of
    from tokbench.results.targets import check_target
    from tokbench.results.world import world

    for one in (wanted := words(metrics)):
        get(one)
    PROTOCOLS.get(protocol)
    file = records_of(results)
    store = Store(file)
    store.check()
    kind = by_suffix(out)
    for target in (out, figure):
        if target is not None:
            check_target(target, [file])
    if figure is not None:
        check_format(figure)
    side = parse_size(size, "--size") if size else None
    request = Request(data, split, side, protocol, limit, wanted or None, batch_size, workers, device(cpu), stride, fps)
    console, records, rows, failed = terminal(stderr=True), [], {}, []
    with progress_bar(console) as bar:
        tasks = {source: bar.add_task(source, total=None) for source in dict.fromkeys(tokenizers)}

        def report(source: str, done: int, total: int) -> None:
            bar.update(tasks[source], completed=done, total=total)

        for source, found in measured(list(tasks), request, store, progress=report, say=console.print):
            if isinstance(found, TokbenchError):
                failed.append(found)
            else:
                if store.find(found.cell) is None:
                    keep(found, file)
                records.append(found)
                if (entry := catalogue.find(source)) and (row := entry.measured_by_authors()):
                    rows[found.name] = row
            bar.remove_task(tasks[source])
    if records:
        shown = world(records, rows)
        emit(tables.to_terminal(shown), None)
        if out is not None:
            emit(getattr(tables, f"to_{kind.value}")(shown), out)
        if figure is not None:
            save(draw_world(records, rows, metric), figure)
            say(f"wrote {figure}")
        console.print(f"records in {file}")
    if failed:
        raise TokbenchError(*(f"not measured: {error}" for error in failed))
