"""A value of the training log against steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.entries import Entry
from tokbench.results.figures.base import panels
from tokbench.results.plausible import artifact_text, is_shown
from tokbench.results.record import Record
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", ":", "-.")
_MOST = 40


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One line a run; runs of one quantizer share its colour and differ in line style."""
    runs = [(entry, record) for entry in entries for record in entry.records]
    logs = [(entry, record, log) for entry, record in runs if (log := read_log(record, folder))]
    if not logs:
        raise TokbenchError("plot training: no record's training log is where the record says")
    known = sorted({key for _, _, log in logs for line in log for key in line} - {"step", "seconds"})
    metric = metric or next((name for name in ("psnr", "loss") if name in known), known[0] if known else "loss")
    if metric not in known:
        raise TokbenchError(f"plot training: {metric!r} was not logged{did_you_mean(metric, known)}")
    if len(logs) > _MOST:
        raise TokbenchError(f"{len(logs)} training curves are more than can be told apart: choose with --where")
    figure, (axis,) = panels(1, width=4.4, height=3.0)
    seen: dict[str, int] = {}
    for entry, record, log in logs:
        name = str(record.quantizer.get("name"))
        points = [(line["step"], line[metric]) for line in log if metric in line]
        line_style = _LINES[seen.get(name, 0) % len(_LINES)]
        seen[name] = seen.get(name, 0) + 1
        axis.plot(
            [step for step, _ in points],
            [value for _, value in points],
            line_style,
            color=style(name).colour,
            linewidth=1,
            label=_name(entry, record) if len(logs) <= 12 else name if seen[name] == 1 else None,
        )
    axis.set_xlabel("step")
    axis.set_ylabel(metric)
    axis.legend()
    return figure


def _name(entry: Entry, record: Record) -> str:
    return entry.label + (f", seed {record.seed}" if len(entry.records) > 1 else "")


def read_log(record: Record, folder: Path) -> list[dict[str, float]]:
    """The lines of the artifact ``log``, or of the ``log.jsonl`` beside the trained tokenizer; empty if unreadable."""
    if "log" in record.artifacts:
        text = artifact_text(folder, record.artifacts["log"])
    elif "tokenizer" in record.artifacts:
        text = artifact_text(folder, f"{record.artifacts['tokenizer']}/../log.jsonl")
    else:
        return []
    try:
        lines = [json.loads(line) for line in (text or "").splitlines()]
    except (ValueError, RecursionError):
        return []
    numbers = [_numbers(line) for line in lines if isinstance(line, dict)]
    return [line for line in numbers if "step" in line]


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in line.items() if isinstance(value, int | float) and is_shown(value)}
