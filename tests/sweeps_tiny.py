"""Sweeps of a second, and records without what differs from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes_tiny import TINY

from tokbench.results.store import Store
from tokbench.sweeps.settings import SweepSettings

_MACHINE = ("seconds", "encoding_seconds", "peak_memory_bytes")
TINY_GENERATOR = [
    "generator.width=16",
    "generator.heads=2",
    "generator.layers=1",
    "training.steps=12",
    "training.batch_size=8",
    "training.warmup_steps=2",
    "training.checkpoint_every=0",
    "training.picture_every=0",
    "training.log_every=2",
]


def grid(*quantizers: str, out: Path | str = "results", generator: Sequence[str] = (), **options: Any) -> SweepSettings:
    """A sweep of tiny cells; ``options`` are those of ``tokbench sweep``."""
    if generator:
        options["set_generator"] = [*TINY_GENERATOR, *options.get("set_generator", ())]
    changes = [*TINY, *options.pop("set", ())]
    tiny = {"quantizer": quantizers, "codebook_size": [16], "depth": [2], "generator": generator, "set": changes}
    return SweepSettings.model_validate({**tiny, **options, "out": str(out)})


def comparable(out: Path) -> list[dict[str, Any]]:
    """The records in the order of their cells, without id, time and checkout."""
    found = []
    for record in Store(out / "runs.jsonl").read():
        plain = record.plain()
        for key in ("id", "created", "timing", "git"):
            plain.pop(key)
        plain["training"] = {k: v for k, v in plain["training"].items() if k not in _MACHINE}
        found.append(plain)
    return sorted(found, key=lambda plain: plain["cell"])
