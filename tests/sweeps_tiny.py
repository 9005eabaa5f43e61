"""Sweeps of a second, and records without what differs from run to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes_tiny import TINY

from tokbench.results.store import Store
from tokbench.sweeps.generating import Generators
from tokbench.sweeps.grid import Grid

TINY_GENERATOR = [
    "generator.width=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.steps=12",
    "training.batch_size=8",
    "training.warmup_steps=2",
    "training.checkpoint_every=4",
    "training.picture_every=0",
    "training.log_every=2",
]


def grid(*quantizers: str, **axes: Any) -> Grid:
    return Grid(quantizers=quantizers, codebook_sizes=[16], depths=[2], overrides=TINY, **axes)


def generators(*kinds: str, **settings: Any) -> Generators:
    return Generators(kinds=kinds, overrides=[*TINY_GENERATOR, *settings.pop("overrides", ())], **settings)


def comparable(out: Path) -> list[dict[str, Any]]:
    """The records in the order of their cells, without id, time and checkout."""
    found = []
    for record in Store(out / "runs.jsonl").read():
        plain = record.plain()
        for key in ("id", "created", "timing", "git"):
            plain.pop(key)
        plain["training"] = {k: v for k, v in plain["training"].items() if "seconds" not in k}
        found.append(plain)
    return sorted(found, key=lambda plain: plain["cell"])
