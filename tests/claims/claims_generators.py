"""Records of generators that nobody measured, for the claims about generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claims_tiny import row

from tokbench.claims.numbers import HELD_OUT, TRAIN
from tokbench.results.environment import content_hash
from tokbench.results.record import Record

SEEDS = (0, 1, 2)
HIGHER = ("psnr", "usage", "ssim")


def made(record: Record, metrics: Mapping[str, float], **changes: Any) -> Record:
    """The record with these metrics, most of them better where lower, and other fields; addressed anew."""
    values = {
        name: {
            "value": value, "n": 96, "version": "tokbench-v1/1", "label": name.upper(),
            "direction": "higher" if name in HIGHER else "lower",
        }
        for name, value in metrics.items()
    }  # fmt: skip
    plain = record.plain() | {"metrics": values} | changes
    kept = {k: v for k, v in plain["recipe"].items() if k != "seed"}
    plain["recipe"] |= {"changed": content_hash([plain["kind"], plain["model"], kept])}
    plain["cell"] = plain["id"] = content_hash({"recipe": plain["recipe"], "rate": plain["rate"]})
    return Record.of(**plain)


def generator(
    name: str, size: int, seed: int, depth: int = 1, side: int = 4, kind: str = "ar", mark: str = "",
    model: Mapping[str, Any] | None = None, curve: Mapping[str, Any] | None = None, drawing: float = 1.0,
    **metrics: float,
) -> Record:  # fmt: skip
    """A generator's record on codes of this quantizer; ``mark`` tells apart what differs in a setting alone."""
    base = row(name, size, depth, seed, side)
    training = {**base.training, "curve": curve} if curve else base.training
    return made(
        base, metrics, kind="generator", training=training, timing={"seconds": 1.0, "drawing": drawing},
        model={"architecture": kind, "parameters": 1000, "mark": mark, **(model or {})},
    )  # fmt: skip


def curve(train: float, held_out: float) -> dict[str, list[float]]:
    """Bits per code that a record of 200 steps keeps: one less in the end than half-way."""
    return {"step": [100, 200], TRAIN: [train + 1, train], HELD_OUT: [held_out + 1, held_out]}
