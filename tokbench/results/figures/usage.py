"""How often each code is used, most used first: a flat line is a full codebook, a cliff is collapse."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError
from tokbench.results.artifacts import artifact_text
from tokbench.results.entries import Entry
from tokbench.results.figures.base import panels
from tokbench.results.record import Record, is_shown
from tokbench.results.styles import GREY, style

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
        name = entry.quantizer
        size = max(size for size, _ in counts)
        for depth, (_, of_depth) in enumerate(counts):
            total = sum(of_depth) or 1
            shares = [count / total for count in sorted(of_depth, reverse=True)]
            fade = 1 - 0.7 * depth / max(1, len(counts) - 1)
            axis.step(range(1, len(shares) + 1), shares, where="mid", color=style(name).colour, alpha=fade, linewidth=1)
        axis.axhline(1 / size, color=GREY, linestyle="--", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_xscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())
        low, high = axis.get_ylim()
        axis.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        axis.set_xlabel("code, by rank")
        axis.set_ylabel("share of positions")
        used = [sum(count > 0 for count in of_depth) / size for size, of_depth in counts]
        depths = f" D={len(counts)}" if len(counts) > 1 else ""
        title = f"{name} K={size:,}{depths}: {100 * sum(used) / len(used):.0f} % used"
        axis.set_title(title, loc="left", fontsize=7, color=GREY)
    return figure


def histogram(record: Record, folder: Path) -> list[tuple[int, list[int]]] | None:
    """Per depth, the size of the codebook and how often each code occurred (of a large one, each that did): artifact
    ``histogram``, ``{"counts": [[...], ...], "sizes": [...]}``. Before there were sizes, every code was counted."""
    if "histogram" not in record.artifacts:
        return None
    try:
        content = json.loads(artifact_text(folder, record.artifacts["histogram"]) or "{}")
        found = [[max(0, int(count)) for count in of_depth] for of_depth in content["counts"] if of_depth]
        sizes = [
            max(int(size), len(own)) for size, own in zip(content.get("sizes", map(len, found)), found, strict=True)
        ]
        return list(zip(sizes, found, strict=True)) if found and all(map(is_shown, chain(sizes, *found))) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
