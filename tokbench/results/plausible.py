"""What a line must hold, beyond its types, to be shown: a record from elsewhere may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.reading import beneath, read_regular
from tokbench.results.lines import SCHEMA

if TYPE_CHECKING:
    from tokbench.results.record import Record

# What tables and figures take out of the open blocks, and how.
_TEXT = {
    "quantizer": ("name",), "model": ("architecture",), "weights": ("which",), "training": ("data",),
    "timing": ("device", "precision"),
}  # fmt: skip
_NUMBERS = {
    "quantizer": ("codebook_size", "depth"), "model": ("downsampling", "parameters"),
    "training": ("steps", "batch_size", "seconds"),
    "timing": ("seconds", "batch_size", "processes"),
}  # fmt: skip
_MOST = 1e18  # larger than any count, rate or time; what is beyond does not survive arithmetic
_MOST_AXES = 16  # of a code stack, its depth included
_LARGEST_ARTIFACT = 64 * 2**20


def implausible(record: Record) -> str | None:
    """Why a record (or a glance at one) cannot be shown, in one line; None where it can."""
    if record.schema_version != SCHEMA:
        return f"schema_version: a record of version {record.schema_version}; this tokbench reads version {SCHEMA}"
    for block, names in _TEXT.items():
        values: Mapping[str, Any] = getattr(record, block)
        for name in names:
            if not isinstance(values.get(name, ""), str | None):
                return f"{block}.{name}: is no text"
    for block, names in _NUMBERS.items():
        values = getattr(record, block)
        for name in names:
            value = values.get(name, 0)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= _MOST):
                return f"{block}.{name}: is no number that could be"
    if (rate := record.rate) is not None:
        if not 2 <= len(rate.tokens) <= _MOST_AXES or not rate.codebook_sizes:
            return "rate: tokens are (*grid, D), and each depth has a codebook"
        if min(rate.tokens) < 1 or min(rate.codebook_sizes) < 1 or rate.tokens[-1] != len(rate.codebook_sizes):
            return "rate: tokens are (*grid, D), at least 1 each, with D codebook sizes"
        if max(rate.tokens) > 2**20 or not (0 <= rate.bits_per_image <= _MOST and 0 <= rate.bits_per_pixel <= _MOST):
            return "rate: no rate that could be"
    if (data := record.data) is not None:
        sides = (data.size,) if isinstance(data.size, int) else data.size
        if not 0 <= data.n <= _MOST or not 1 <= len(sides) <= 3 or not all(0 <= side <= _MOST for side in sides):
            return "data: no number of images, or size, that could be"
    for name, metric in record.metrics.items():
        if not is_shown(metric.value) or not is_shown(metric.stderr) or not 0 <= metric.n <= _MOST:
            return f"metrics.{name}: is no number that could be"
        if metric.by_depth is not None and not all(map(is_shown, metric.by_depth)):
            return f"metrics.{name}.by_depth: is no number that could be"
    return None


def is_shown(value: float | None) -> bool:
    """Whether arithmetic and axes can do with a number: finite, and not of hundreds of digits. None is not measured."""
    return value is None or abs(value) <= _MOST  # False for NaN too; an int too large for a float compares all the same


def artifact_text(folder: Path, name: str) -> str | None:
    """The text of a file that a record names, None where it is not there; only files beneath ``folder`` are read."""
    try:
        path = beneath(folder, name)
        return None if path is None else read_regular(path, _LARGEST_ARTIFACT).decode()
    except (OSError, ValueError):
        return None
