"""The images records point at, to be carried inside the page."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokbench.reading import beneath, read_regular, reason_of
from tokbench.results.entries import Entry

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}
_LARGEST = 16 * 2**20
_KINDS = ("originals", "reconstructions", "depths", "samples")


@dataclass
class Shown:
    """What there is to see of one row. A missing one is None, and ``missing`` says why."""

    entry: Entry
    detail: str
    originals: str | None = None
    reconstructions: str | None = None
    depths: str | None = None
    samples: str | None = None
    missing: list[str] = field(default_factory=list)
    pixels: dict[str, tuple[int, int]] = field(default_factory=dict)  # width and height of each that is a PNG
    same: int | None = None  # the row before it whose originals are the same image: the page carries one


def gather_images(entries: Sequence[Entry], folder: Path, most: int) -> tuple[list[Shown], int]:
    """The first ``most`` rows that have images, and how many more do."""
    having = [e for e in entries if set(_KINDS) & set(e.first.artifacts)]
    shown = [_shown(entry, folder) for entry in having[:most]]
    first: dict[str, int] = {}
    for number, each in enumerate(shown):
        if each.originals is None or each.reconstructions is None:
            continue
        if (before := first.setdefault(each.originals, number)) != number:
            each.same = before
    return shown, max(0, len(having) - most)


def detail(entry: Entry) -> str:
    """What a row costs and gives, in a line."""
    record = entry.first
    bpp, psnr, gfid = entry.bits_per_pixel(), entry.values("psnr")[0], record.metrics.get("gfid")
    details = [f"{bpp:.3f} bpp"] if bpp else []
    details += [f"{psnr:.2f} dB"] if psnr is not None else []
    details += [f"gFID {gfid.value:.2f}"] if gfid and gfid.value is not None else []
    return " · ".join(details)


def _shown(entry: Entry, folder: Path) -> Shown:
    record = entry.first
    seed = f"seed {record.seed}" if record.seed is not None and len(entry.records) > 1 else ""
    about = " · ".join(filter(None, [record.name, detail(entry), seed]))
    shown = Shown(entry, about)
    for key in _KINDS:
        if key in record.artifacts:
            try:
                kind, content = _read(folder, record.artifacts[key])
            except ValueError as error:
                shown.missing.append(f"{key}: {error}")
                continue
            setattr(shown, key, f"data:{kind};base64,{base64.b64encode(content).decode()}")
            if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
                shown.pixels[key] = struct.unpack(">II", content[16:24])
    return shown


def _read(folder: Path, name: str) -> tuple[str, bytes]:
    """An image's type and bytes; ValueError says why there is none. Only images beneath the results folder are ever
    read."""
    kind = _TYPES.get(Path(name).suffix.lower())
    if kind is None:
        raise ValueError(f"{name} is not an image")
    try:
        path = beneath(folder, name)
        content = b"" if path is None else read_regular(path, _LARGEST)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {reason_of(error)}") from None
    if path is None:
        raise ValueError(f"{name} lies outside the results folder")
    return kind, content
