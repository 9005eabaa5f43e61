"""The images records point at, to be carried inside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokbench.reading import beneath, read_regular, reason_of
from tokbench.results.entries import Entry

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}
_LARGEST = 16 * 2**20


@dataclass
class Shown:
    """What there is to see of one row. A missing one is None, and ``missing`` says why."""

    label: str
    detail: str
    originals: str | None = None
    reconstructions: str | None = None
    depths: str | None = None
    samples: str | None = None
    depth: int = 1
    missing: list[str] = field(default_factory=list)


def gather_images(entries: Sequence[Entry], folder: Path, most: int) -> tuple[list[Shown], int]:
    """The first ``most`` rows that have images, and how many more do."""
    having = [e for e in entries if {"originals", "reconstructions", "depths", "samples"} & set(e.first.artifacts)]
    return [_shown(entry, folder) for entry in having[:most]], max(0, len(having) - most)


def _shown(entry: Entry, folder: Path) -> Shown:
    record = entry.first
    details = [record.name]
    bpp, psnr, gfid = entry.bits_per_pixel(), record.metrics.get("psnr"), record.metrics.get("gfid")
    details += [f"{bpp:.3f} bpp"] if bpp else []
    details += [f"{psnr.value:.2f} dB"] if psnr and psnr.value is not None else []
    details += [f"gFID {gfid.value:.2f}"] if gfid and gfid.value is not None else []
    details += [f"seed {record.seed}"] if record.seed is not None and len(entry.records) > 1 else []
    shown = Shown(entry.label, " · ".join(details), depth=entry.depth or 1)
    for key in ("originals", "reconstructions", "depths", "samples"):
        if key in record.artifacts:
            uri, why = _embedded(folder, record.artifacts[key])
            setattr(shown, key, uri)
            if why:
                shown.missing.append(f"{key}: {why}")
    return shown


def _embedded(folder: Path, name: str) -> tuple[str | None, str | None]:
    """A data URI, or why there is none. Only images beneath the results folder are ever read."""
    kind = _TYPES.get(Path(name).suffix.lower())
    if kind is None:
        return None, f"{name} is not an image"
    try:
        path = beneath(folder, name)
        if path is None:
            return None, f"{name} lies outside the results folder"
        content = read_regular(path, _LARGEST)
    except (OSError, ValueError) as error:
        return None, f"{name}: {reason_of(error)}"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}", None
