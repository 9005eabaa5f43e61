"""The timings of ``tokbench bench sampling`` as records: a line for each contender and batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tokbench.bench.sampling import Timing
from tokbench.bench.timing import load
from tokbench.results.environment import content_hash, new_id, provenance
from tokbench.results.record import Rate, Record, defined

VERSION = "tokbench-v1/1"
IMAGE_SIZE = 256  # of the paper's comparison: 16x16 positions at f16, 8x8 at f32


def timing_records(timings: Sequence[Timing], *, settings: dict[str, Any], turns: int, seed: int) -> list[Record]:
    """One record a timing, of kind ``benchmark``; together they are one ``group``.

    Args:
        settings: what was timed: width, heads, layers, depth_layers, vocabulary, precision, device, sampling.
        turns: timed turns of each, of which the median is kept.
        seed: of the weights and of what was drawn.
    """
    group, made, machine_load = new_id(), provenance(), load()
    records = []
    for timing in timings:
        depth, positions = timing.shape[-1], math.prod(timing.shape[:-1])
        recipe = {"bench": "sampling", "codes": list(timing.shape), "batch_size": timing.batch, **settings}
        if timing.generator != "ar":  # unsaid of ar: records from before there were others keep their addresses
            recipe["generator"] = timing.generator
        bits = depth * math.log2(settings["vocabulary"])
        found = {
            "seconds_per_image": timing.per_image,
            "memory_mib": timing.memory / 2**20,
            "floor_seconds": timing.floor,
        }
        records.append(
            Record.of(
                id=new_id(),
                cell=content_hash({**recipe, "seed": seed}),
                experiment=content_hash(recipe),
                kind="benchmark",
                name=f"sampling {timing.name}",
                group=group,
                seed=seed,
                quantizer={
                    "name": timing.name.split()[0].lower(),
                    "codebook_size": settings["vocabulary"],
                    "depth": depth,
                },
                model={
                    "architecture": timing.generator,
                    "generator": timing.generator,
                    "parameters": timing.parameters,
                },
                rate=Rate(
                    tokens=list(timing.shape),
                    codebook_sizes=[settings["vocabulary"]] * depth,
                    bits_per_position=bits,
                    bits_per_image=bits * positions,
                    bits_per_pixel=bits * positions / IMAGE_SIZE**2,
                ),
                metrics={name: defined(name, value, turns, VERSION) for name, value in found.items()},
                timing={
                    "seconds": timing.seconds,
                    "sample_images_per_second": 1 / timing.per_image,
                    "device": settings["device"],
                    "precision": settings["precision"],
                    "batch_size": timing.batch,
                    "turns": turns,
                    "threads": torch.get_num_threads(),
                    "load": machine_load,
                },
                **made,
                recipe=recipe,
            )
        )
    return records
