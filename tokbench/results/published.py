"""Numbers others published, as records: facts with their source, never mixed up with what was measured here."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from tokbench.results.environment import content_hash
from tokbench.results.record import Record, defined

_FILES = ("published.csv", "published_models.csv")  # what papers compare with; what else has a name in the catalogue
# The column of these files -> what the same thing is called where tokbench measures it.
_METRICS = {name: name for name in ("psnr", "ssim", "rfid", "gfid", "is", "precision", "recall")}
_METRICS |= {"lpips": "lpips_published", "usage_pct": "usage"}


def load() -> list[Record]:
    """Every published row that comes with tokbench, unverified ones included (see ``verified``)."""
    return list(_load())


def verified(records: Iterable[Record]) -> list[Record]:
    """Without the rows that were written down from memory and checked by nobody."""
    return [record for record in records if not (record.provenance or "").startswith("unverified")]


@cache
def _load() -> tuple[Record, ...]:
    rows = []
    for name in _FILES:
        text = resources.files("tokbench.results").joinpath(name).read_text(encoding="utf-8")
        rows += list(csv.DictReader(text.splitlines()))
    # Rows of other kinds (video, compression, speed) stay in the file: their numbers have no column here.
    return tuple(_record(row) for row in rows if row["kind"] in ("tokenizer", "generator"))


def _record(row: dict[str, str]) -> Record:
    size, depth = int(row["resolution"]), int(row["depth"] or 1)
    tokens = int(row["tokens"]) if row["tokens"] else None
    codebook = int(row["codebook"]) if row["codebook"] else None
    identity = content_hash(row)
    metrics = {
        # Papers seldom say of how many images.
        name: defined(name, float(row[column]) / (100 if column.endswith("_pct") else 1), 0, "published")
        for column, name in _METRICS.items()
        if row[column]
    }
    return Record.of(
        id=f"published-{identity}",
        cell=f"published-{identity}",
        kind=row["kind"],
        source="published",
        created="",
        name=row["system"],
        quantizer={"name": row["quantizer"] or None, "codebook_size": codebook, "depth": depth},
        data={"spec": row["dataset"], "split": "", "n": 0, "size": size, "protocol": "published"},
        rate=_rate(tokens, depth, codebook, size),
        metrics=metrics,
        provenance=f"{row['provenance']}: {row['source']}",
        note=row["note"] or None,
    )


def _rate(tokens: int | None, depth: int, codebook: int | None, size: int) -> dict[str, Any] | None:
    if tokens is None or codebook is None:
        return None
    bits = depth * math.log2(codebook)
    return {
        "tokens": [tokens, depth],  # their number is published, their grid is not
        "codebook_sizes": [codebook] * depth,
        "bits_per_position": bits,
        "bits_per_image": bits * tokens,
        "bits_per_pixel": bits * tokens / size**2,
    }
