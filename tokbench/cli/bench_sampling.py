"""tokbench bench sampling"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tokbench.cli.options import Cpu


def bench_sampling(
    batch_size: Annotated[
        list[str] | None, typer.Option("--batch-size", help="Images at a time, e.g. 1,16; on a GPU 1,100,200,500.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="A size of the paper by name, e.g. rq-1.4b; default there: on a GPU.")
    ] = None,
    width: Annotated[int, typer.Option("--width", min=8, help="Without --size.")] = 320,
    heads: Annotated[int, typer.Option("--heads", min=1)] = 5,
    layers: Annotated[
        int, typer.Option("--layers", min=1, help="Over positions; with depth layers, both together.")
    ] = 12,
    depth_layers: Annotated[int, typer.Option("--depth-layers", min=1)] = 2,
    vocabulary: Annotated[int, typer.Option("--vocabulary", min=2)] = 2048,
    precision: Annotated[Literal["auto", "fp32", "bf16"], typer.Option("--precision")] = "auto",
    top_k: Annotated[int | None, typer.Option("--top-k")] = None,
    top_p: Annotated[float, typer.Option("--top-p")] = 1.0,
    turns: Annotated[int, typer.Option("--turns", min=1, help="Timed turns of each; the median is shown.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the weights and of what is drawn.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", "--results", help="The records: a .jsonl, or the folder for sampling.jsonl.")
    ] = Path("results/bench"),
    next_scale: Annotated[
        bool, typer.Option("--next-scale", help="Instead: var against ar on the 680 codes of ten scales up to 16x16.")
    ] = False,
    cpu: Cpu = False,
) -> None:
    """Drawing VQ 16x16x1 against RQ 8x8x4 codes with equal parameters and random weights, turn by turn.

    The floor is the time it takes to read the weights and caches alone, at the bandwidth measured here. A record for
    each row is kept: tokbench plot speed results/bench/sampling.jsonl draws speed and ratio against batch.
    """
    import torch

    from tokbench.bench.next_scale import compare_next_scale
    from tokbench.bench.sampling import compare
    from tokbench.bench.sampling_record import timing_records
    from tokbench.cli._results import keep
    from tokbench.cli.options import device, numbers
    from tokbench.config.generator import SIZES
    from tokbench.errors import TokbenchError, counted, did_you_mean
    from tokbench.generators import Sampling
    from tokbench.printing import print_numbers, terminal
    from tokbench.results.store import Store

    where = device(cpu)
    if size is None and where == "cuda":
        size = "rq-1.4b"
    if size is not None:
        if size not in SIZES:
            raise TokbenchError(f"--size {size}: unknown{did_you_mean(size, SIZES)}")
        width, heads, layers, depth_layers = (SIZES[size][k] for k in ("width", "heads", "layers", "depth_layers"))
    batches = numbers("--batch-size", batch_size) or ([1, 100, 200, 500] if where == "cuda" else [1, 16])
    sampling = Sampling(top_k=top_k, top_p=top_p)
    low = precision == "bf16" or (precision == "auto" and where == "cuda")
    file = out if out.suffix == ".jsonl" else out / "sampling.jsonl"
    Store(file).check()
    asked: dict[str, Any] = {
        "width": width, "heads": heads, "vocabulary": vocabulary, "device": where,
        "dtype": torch.bfloat16 if low else torch.float32, "turns": turns, "sampling": sampling, "seed": seed,
    }  # fmt: skip
    if next_scale:
        timings = compare_next_scale(batches, layers=layers + depth_layers, **asked)
    else:
        timings = compare(batches, layers=layers, depth_layers=depth_layers, **asked)
    base = " by ar" if next_scale else "VQ"
    against = f"x {base.split()[-1]}"
    headers = ["codes", "parameters", "batch", "s/image", "images/s", against, "memory", "floor s", "x floor"]
    slow = {timing.batch: timing.per_image for timing in timings if base in timing.name}
    rows = [
        (
            timing.name,
            f"{timing.parameters / 1e6:.1f}M",
            str(timing.batch),
            f"{timing.per_image:.4f}",
            f"{1 / timing.per_image:.1f}",
            f"{slow[timing.batch] / timing.per_image:.2f}",
            f"{timing.memory / 2**20:,.0f} MiB",
            f"{timing.floor:.3f}" if timing.floor is not None else "",
            f"{timing.seconds / timing.floor:.1f}" if timing.floor else "",
        )
        for timing in timings
    ]
    console = terminal()
    print_numbers(console, headers, rows, ["floor s", "images/s", "parameters", "x floor", "memory"])
    name = torch.cuda.get_device_name() if where == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    kind = "bf16" if low else "fp32"
    settings = {
        "width": width, "heads": heads, "layers": layers, "depth_layers": depth_layers, "vocabulary": vocabulary,
        "device": where, "precision": "bfloat16" if low else "float32", "top_k": top_k, "top_p": top_p,
    }  # fmt: skip
    for record in timing_records(timings, settings=settings, turns=turns, seed=seed):
        keep(record, file)
    console.print(f"{name}, torch {torch.__version__}, {kind}, vocabulary {vocabulary}", style="dim")
    console.print(f"{counted(len(timings), 'record')} appended to {file}")
