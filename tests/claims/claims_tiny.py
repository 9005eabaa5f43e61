"""A claim of a second, and records of claims that nobody measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from recipes_tiny import TINY

from tokbench.claims.definition import load_claim
from tokbench.claims.evidence import Evidence, Request, RequestedCell
from tokbench.claims.findings import Finding
from tokbench.claims.panels import draw
from tokbench.claims.results import check_of
from tokbench.results.environment import content_hash
from tokbench.results.figures.base import figure_settings
from tokbench.results.record import Record

TEXT: dict[str, Any] = {"order": 1, "title": "Tiny", "question": "Is it?", "says": "It is."}


def tiny(folder: Path, name: str, sweeps: Mapping[str, Any], **more: Any) -> Path:
    """The file of a claim whose cells train for twelve steps."""
    parts = {part: {"recipe": "demo", **sweep, "set": [*TINY, *sweep.get("set", [])]} for part, sweep in sweeps.items()}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**TEXT, "scales": {"cpu": {"sweeps": parts}}, **more}))
    return path


def row(name: str, size: int, depth: int = 1, seed: int = 0, side: int = 4, **metrics: Any) -> Record:
    """A tokenizer's record. A metric is a number, or the list of it by depth; ``error`` makes it a failed cell, and
    ``prefixes`` a row of codes."""
    error, prefixes = metrics.pop("error", None), metrics.pop("prefixes", None)
    options = metrics.pop("options", {})
    quantizer = {"name": name, "codebook_size": size, "depth": depth, **options}
    recipe = {"name": "tiny", "seed": seed, "quantizer": quantizer, "model": {"side": side}}
    bits = depth * math.log2(size)
    cell = content_hash(recipe)
    content = {
        "id": cell, "cell": cell, "name": "tiny", "created": "2025-01-01T12:00:00+00:00", "seed": seed,
        "quantizer": quantizer, "model": {"architecture": "vqgan", "downsampling": 32 // side, "parameters": 1000},
        "data": {"spec": "photos", "split": "eval", "n": 96, "size": 32, "protocol": "tokbench-v1"},
        "weights": {"which": "ema"},
        "rate": {
            "tokens": [side, side, depth], "codebook_sizes": [size] * depth, "bits_per_position": bits,
            "bits_per_image": side * side * bits, "bits_per_pixel": side * side * bits / 1024,
        },
        "training": {"steps": 12, "batch_size": 8, "data": "photos", "seconds": 1.0},
        "timing": {"seconds": 1.0, "device": "cpu"},
        "environment": {"torch": "2.9.0", "cpu": "a CPU", "cores": 2, "gpus": []},
        "git": {"revision": "0123456789abcdef", "dirty": False},
        "recipe": recipe, "metrics": {key: _metric(key, value) for key, value in metrics.items()}, "error": error,
    }  # fmt: skip
    if prefixes:
        whole = {"tokens": [prefixes[-1], depth], "prefixes": prefixes, "bits_per_image": prefixes[-1] * bits}
        content["rate"] = {**content["rate"], **whole}  # type: ignore[dict-item]
    return Record.of(**content)


def _metric(name: str, value: Any) -> dict[str, Any]:
    lower = name.startswith(("lpips", "rfid"))
    found = {"n": 96, "version": "tokbench-v1/1", "label": name.upper(), "direction": "lower" if lower else "higher"}
    values = value if isinstance(value, list) else [value]
    return {**found, "value": values[-1], "by_depth": values if len(values) > 1 else None}


def evidence(
    name: str, parts: Mapping[str, list[Record]], *, without: Callable[[Record], bool] = lambda record: False
) -> Evidence:
    """Evidence for a claim that ships; ``without`` chooses cells that were asked for but have no record."""
    everything = [record for records in parts.values() for record in records]
    asked = Request(
        claim=name,
        scale="cpu",
        seeds=sorted({record.seed or 0 for record in everything}),
        parts={
            part: [
                RequestedCell(cell=r.cell, label=f"{part}: {r.quantizer['name']}", seed=r.seed or 0) for r in records
            ]
            for part, records in parts.items()
        },
    )  # fmt: skip
    return Evidence.of(load_claim(name), asked, [record for record in everything if not without(record)])


def found(findings: list[Finding], *words: str) -> Finding:
    """The only finding whose statement has these words."""
    (only,) = [finding for finding in findings if all(word in finding.statement for word in words)]
    return only


def drawn(name: str, parts: Mapping[str, list[Record]]) -> list[Any]:
    """The axes of the figure."""
    with figure_settings():
        figure = draw(check_of(name).panels(evidence(name, parts)))
        assert figure is not None
        figure.canvas.draw()
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert all(axis.get_ylabel() for axis in shown), "every axis says what it shows"
    return shown
