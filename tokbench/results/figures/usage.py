"""How often each code is used, most used first: a flat line is a full codebook, a cliff is collapse."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError
from tokbench.results.entries import Entry
from tokbench.results.figures.base import panels
from tokbench.results.plausible import artifact_text, is_shown
from tokbench.results.record import Record
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One panel a row, one line a depth (lighter is deeper); dashed: all codes equally often."""
    from matplotlib.ticker import NullFormatter

    if metric is not None:
        raise TokbenchError("plot usage draws histograms of codes: it takes no --metric")
    found = []
    for entry in entries:
        counted = (histogram(record, folder) for record in entry.records)
        if counts := next(filter(None, counted), None):
            found.append((entry, counts))
    if not found:
        raise TokbenchError('plot usage: no record has a readable artifact "histogram" (evaluate again to have it)')
    figure, axes = panels(len(found), width=2.4, height=2.0)
    for axis, (entry, counts) in zip(axes, found, strict=True):
        name = str(entry.first.quantizer.get("name"))
        size = max(len(of_depth) for of_depth in counts)
        for depth, of_depth in enumerate(counts):
            total = sum(of_depth) or 1
            shares = [count / total for count in sorted(of_depth, reverse=True)]
            fade = 1 - 0.7 * depth / max(1, len(counts) - 1)
            axis.step(range(1, len(shares) + 1), shares, where="mid", color=style(name).colour, alpha=fade, linewidth=1)
        axis.axhline(1 / size, color="#444444", linestyle="--", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_xscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())
        low, high = axis.get_ylim()
        axis.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        axis.set_xlabel("code, by rank")
        axis.set_ylabel("share of positions")
        used = [sum(count > 0 for count in of_depth) / len(of_depth) for of_depth in counts]
        depths = f" D={len(counts)}" if len(counts) > 1 else ""
        title = f"{name} K={size:,}{depths}: {100 * sum(used) / len(used):.0f} % used"
        axis.set_title(title, loc="left", fontsize=7, color="#444444")
    return figure


def histogram(record: Record, folder: Path) -> list[list[int]] | None:
    """Per depth, how often each code occurred: ``{"counts": [[...], ...]}`` in the artifact ``histogram``."""
    if "histogram" not in record.artifacts:
        return None
    try:
        counts = json.loads(artifact_text(folder, record.artifacts["histogram"]) or "{}")["counts"]
        found = [[max(0, int(count)) for count in of_depth] for of_depth in counts if of_depth]
        return found if found and all(map(is_shown, chain.from_iterable(found))) else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
