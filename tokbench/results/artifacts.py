"""The files that records point at: a record from elsewhere may name anything, and only files of its folder are read."""

from __future__ import annotations

from pathlib import Path

from tokbench.reading import beneath, read_regular

_LARGEST = 64 * 2**20


def artifact_text(folder: Path, name: str) -> str | None:
    """The text of a file that a record names, None where it is not there; only files beneath ``folder`` are read."""
    try:
        path = beneath(folder, name)
        return None if path is None else read_regular(path, _LARGEST).decode()
    except (OSError, ValueError):
        return None
