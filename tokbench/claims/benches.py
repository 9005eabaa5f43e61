"""Speed as records: ``tokbench bench sampling`` with a line for each contender, batch size and repetition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tokbench.claims.definition import SamplingBench
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.environment import content_hash, describe, git_state, new_id
from tokbench.results.record import MetricValue, Rate, Record

VERSION = "tokbench-v1/1"


@dataclass(frozen=True)
class BenchCell:
    """One contender at one batch size, one repetition of it (``seed``)."""

    key: str
    label: str
    seed: int
    contender: str
    batch: int
    settings: SamplingBench


def bench_cells(settings: SamplingBench, seeds: Sequence[int]) -> list[BenchCell]:
    """Every contender, batch size and repetition, addressed by what is timed (not by the machine)."""
    from tokbench.bench.sampling import contenders

    cells = []
    for seed in seeds:
        for batch in settings.batch_size:
            for contender in contenders(*_layers(settings)):
                recipe = _recipe(settings, contender.name, batch, seed)
                label = f"sampling {contender.name} batch {batch}"
                cells.append(BenchCell(content_hash(recipe), label, seed, contender.name, batch, settings))
    return cells


def run_bench(cells: Sequence[BenchCell], *, cpu: bool = False) -> list[Record]:
    """Time the cells that are asked for, the contenders of a repetition taking turns; a record for each."""
    import torch

    from tokbench.bench.sampling import compare

    where = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    records = []
    for settings, seed in {(cell.settings.model_dump_json(), cell.seed): None for cell in cells}:
        own = [cell for cell in cells if (cell.settings.model_dump_json(), cell.seed) == (settings, seed)]
        asked = own[0].settings
        width, heads = _width(asked)
        layers, depth_layers = _layers(asked)
        low = asked.precision == "bf16" or (asked.precision == "auto" and where == "cuda")
        torch.manual_seed(seed)
        timings = compare(
            sorted({cell.batch for cell in own}), layers=layers, depth_layers=depth_layers, width=width, heads=heads,
            vocabulary=asked.vocabulary, device=where, dtype=torch.bfloat16 if low else torch.float32,
            turns=asked.turns,
        )  # fmt: skip
        for timing in timings:
            cell = next((c for c in own if (c.contender, c.batch) == (timing.name, timing.batch)), None)
            if cell is not None:
                records.append(_record(cell, timing, where, "bf16" if low else "fp32"))
    return records


def _record(cell: BenchCell, timing: Any, device: str, precision: str) -> Record:
    height, width, depth = (int(side) for side in timing.name.split()[-1].split("x"))
    bits = math.log2(cell.settings.vocabulary)
    positions = height * width

    def metric(value: float | None, label: str, unit: str) -> MetricValue:
        return MetricValue(
            value=value, n=cell.settings.turns, version=VERSION, label=label, direction="lower", unit=unit
        )

    return Record(
        id=new_id(),
        cell=cell.key,
        kind="benchmark",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        name=f"sampling {timing.name}",
        seed=cell.seed,
        model={"architecture": "ar", "contender": timing.name, "parameters": timing.parameters},
        rate=Rate(
            tokens=[height, width, depth], codebook_sizes=[cell.settings.vocabulary] * depth,
            bits_per_position=bits * depth, bits_per_image=bits * depth * positions,
            bits_per_pixel=bits * depth * positions / 256**2,
        ),
        metrics={
            "seconds_per_image": metric(timing.per_image, "seconds an image", "s"),
            "memory_mib": metric(timing.memory / 2**20, "memory", "MiB"),
            "floor_seconds": metric(timing.floor, "time to read weights and caches", "s"),
        },
        timing={"device": device, "precision": precision, "batch_size": timing.batch},
        environment=describe(),
        git=git_state(),
        recipe=_recipe(cell.settings, cell.contender, cell.batch, cell.seed),
    )  # fmt: skip


def _recipe(settings: SamplingBench, contender: str, batch: int, seed: int) -> dict[str, Any]:
    own = settings.model_dump(mode="json", exclude={"batch_size"})
    return {"bench": "sampling", "contender": contender, "batch_size": batch, "seed": seed, **own}


def _size(settings: SamplingBench) -> dict[str, int]:
    from tokbench.config.generator import SIZES

    if settings.size is None:
        return settings.model_dump()
    if settings.size not in SIZES:
        raise TokbenchError(f"bench size {settings.size}: unknown{did_you_mean(settings.size, SIZES)}")
    return dict(SIZES[settings.size])


def _layers(settings: SamplingBench) -> tuple[int, int]:
    found = _size(settings)
    return found["layers"], found["depth_layers"]


def _width(settings: SamplingBench) -> tuple[int, int]:
    found = _size(settings)
    return found["width"], found["heads"]
