"""``log.jsonl``: one line of values every few steps, consistent with the checkpoint a run continues from."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tokbench.results.files import write


def append_log(path: Path, step: int, seconds: float, values: dict[str, float]) -> None:
    """Add one line."""
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "seconds": round(seconds, 3), **values}) + "\n")


def drop_log_after(path: Path, step: int) -> None:
    """Lines logged after the checkpoint belong to a past that did not happen."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        write(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
