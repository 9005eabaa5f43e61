"""tokbench bench generators"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tokbench.cli.options import Cpu


def bench_generators(
    beside: Annotated[
        Literal["taming", "kakao"],
        typer.Option(
            "--beside",
            help="The authors' transformer: taming's own on 16x16x1 codes (tokbench[peers]), Kakao's, restated here, "
            "on 8x8x4.",
        ),
    ] = "kakao",
    batch_size: Annotated[
        list[str] | None, typer.Option("--batch-size", help="Images drawn at a time, e.g. 1,16.")
    ] = None,
    train_batch: Annotated[int, typer.Option("--train-batch", min=1, help="Images of a training step.")] = 8,
    width: Annotated[int, typer.Option("--width", min=8)] = 320,
    heads: Annotated[int, typer.Option("--heads", min=1)] = 5,
    layers: Annotated[
        int, typer.Option("--layers", min=1, help="Over positions; beside taming with the depth layers in one stack.")
    ] = 12,
    depth_layers: Annotated[int, typer.Option("--depth-layers", min=1)] = 2,
    vocabulary: Annotated[int, typer.Option("--vocabulary", min=2)] = 2048,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1)] = None,
    top_p: Annotated[float, typer.Option("--top-p")] = 1.0,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Timed turns of each; the median is shown.")] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the weights and of what is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Also write everything measured here, as JSON.")] = None,
    cpu: Cpu = False,
) -> dict[str, Any]:
    """Drawing, with and without a condition, and training steps beside the authors' code with the same weights.

    Both take turns in one run; on a CPU the ratios are of CPU seconds, which other programs hardly touch.
    """
    import json

    from tokbench.bench.generators import OURS, Size
    from tokbench.bench.generators import bench_generators as run
    from tokbench.cli.options import device, numbers
    from tokbench.generators import Sampling
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.files import write
    from tokbench.results.targets import check_target

    batches = numbers("--batch-size", batch_size) or [1, 16]
    if out is not None:
        check_target(out)
    result = run(
        beside,
        batches,
        size=Size(width, heads, layers, depth_layers, vocabulary),
        train_batch=train_batch,
        turns=turns,
        device=device(cpu),
        sampling=Sampling(top_k=top_k, top_p=top_p),
        seed=seed,
    )
    kind = "cpu_seconds" if result["device"].endswith("threads") else "seconds"
    title = f"{result['parameters'] / 1e6:.1f}M parameters, {result['device']}, {kind.replace('_', ' ')}: ms a code"
    rows = []
    for row in result["rows"]:
        times = [f"{row[kind][who] / row['codes'] * 1e3:.3f}" for who in (OURS, beside)]
        speedup = "{median:.2f} ({lowest:.2f} to {highest:.2f})".format(**row["speedup"])
        rows.append([row["part"], str(row["batch_size"]), *times, speedup])
    console = terminal()
    print_numbers(console, ["part", "batch", OURS, beside, "x as fast (turns)"], rows, [], title=title)
    for given in result["given"]:
        console.print(
            f"a condition, batch {given['batch_size']}: {given['given'] / given['plain']:.2f} of the time without one; "
            f"{given['ratio']:.2f} of that with reading it and attending to it"
        )
    if out is not None:
        write(out, json.dumps(result, indent=2) + "\n")
    return result
