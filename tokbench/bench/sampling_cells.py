"""Speed as records: ``tokbench bench sampling`` with a line for each contender, batch size and repetition. Torch is
imported where something is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, PositiveInt

from tokbench.config.base import Strict
from tokbench.config.lists import Numbers
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.environment import content_hash
from tokbench.results.record import Record


class SamplingBench(Strict):
    """The options of ``tokbench bench sampling`` as keys; each seed of the claim is a repetition of its own."""

    batch_size: Numbers
    size: str | None = Field(None, description="a size of the paper by name, in place of the four below")
    width: PositiveInt = 320
    heads: PositiveInt = 5
    layers: PositiveInt = 12
    depth_layers: PositiveInt = 2
    vocabulary: PositiveInt = 2048
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    turns: PositiveInt = 3


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
    from tokbench.bench.sampling_record import timing_records

    where = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    records = []
    for settings, seed in {(cell.settings.model_dump_json(), cell.seed): None for cell in cells}:
        own = [cell for cell in cells if (cell.settings.model_dump_json(), cell.seed) == (settings, seed)]
        asked = own[0].settings
        width, heads = _width(asked)
        layers, depth_layers = _layers(asked)
        low = asked.precision == "bf16" or (asked.precision == "auto" and where == "cuda")
        timings = compare(
            sorted({cell.batch for cell in own}), layers=layers, depth_layers=depth_layers, width=width, heads=heads,
            vocabulary=asked.vocabulary, device=where, dtype=torch.bfloat16 if low else torch.float32,
            turns=asked.turns, seed=seed,
        )  # fmt: skip
        said = {
            "width": width, "heads": heads, "layers": layers, "depth_layers": depth_layers,
            "vocabulary": asked.vocabulary, "precision": "bfloat16" if low else "float32", "device": where,
        }  # fmt: skip
        for record in timing_records(timings, settings=said, turns=asked.turns, seed=seed):
            name = record.name.removeprefix("sampling ")
            cell = next((c for c in own if (c.contender, c.batch) == (name, record.timing["batch_size"])), None)
            if cell is not None:
                recipe = _recipe(cell.settings, cell.contender, cell.batch, cell.seed)
                records.append(record.replace(cell=cell.key, recipe=recipe))
    return records


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
