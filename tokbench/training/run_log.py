"""``log.jsonl``: one line of values every few steps, consistent with the checkpoint a run continues from.

A line with ``event`` tells of something that happened at its step: ``skipped``, ``codebook_collapse``, ``threads``, or
``changed``: the run went on from there with other data or otherwise divided.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from tokbench.errors import TokbenchError, visible
from tokbench.results.files import write


def append_log(path: Path, step: int, seconds: float, values: dict[str, float]) -> None:
    """Add one line of values."""
    _append(path, {"step": step, "seconds": round(seconds, 3), **values})


def append_event(path: Path, step: int, seconds: float, event: str, message: str) -> None:
    """Add one line that says what happened."""
    _append(path, {"step": step, "seconds": round(seconds, 3), "event": event, "message": visible(message)})


def _append(path: Path, line: dict[str, object]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise TokbenchError(f"{path}: cannot write: {error.strerror}") from error


def drop_log_after(path: Path, step: int) -> None:
    """Lines logged after the checkpoint belong to a past that did not happen."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        write(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
