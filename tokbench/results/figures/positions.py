"""What the codes of each position cost a generator, in the order in which it says them, and where the entropy ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError
from tokbench.results.entries import Entry, Spread
from tokbench.results.figures.base import by_context, draw_panel, panels, titled
from tokbench.results.figures.series import LINES, Panel, Point, Series, numbers_in
from tokbench.results.record import Record, is_shown
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NLL, _CLIFF = "nll_bits_per_code", "entropy_cliff"


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One panel for each set of images, one line a generator, means over seeds. A full mark stands at the entropy cliff
    t*, where the NLL so far comes to log2 of the training images; a hollow one where codes that are all equally likely
    would come to it."""
    if metric is not None:
        raise TokbenchError("plot positions draws the NLL of each position: it takes no --metric")
    found = [entry for entry in entries if _points(entry)]
    if not found:
        raise TokbenchError(
            "plot positions: no record has the NLL of each position (generators ar, pixelsnail and var have it; "
            "evaluate again)"
        )
    contexts = by_context(found)
    figure, axes = panels(len(contexts), width=4.4, height=3.0)
    for axis, (context, own) in zip(axes, contexts.items(), strict=True):
        titled(axis, context, own)
        _panel(axis, own)
    return figure


def _panel(axis: Axes, entries: Sequence[Entry]) -> None:
    lines, seen = [], dict[str, int]()
    for entry in entries:
        number = seen[entry.quantizer] = seen.get(entry.quantizer, -1) + 1
        points, line = _points(entry), LINES[number % len(LINES)]
        lines.append(
            Series(entry.label, entry.quantizer, points, line=line, marks="", about=[entry.label] * len(points))
        )
    draw_panel(axis, Panel("position, as it is said", "NLL (bits per position) ↓", lines, "depths"))
    for entry, own in zip(entries, lines, strict=True):
        bits, look = dict(own.points), style(entry.quantizer)
        for key, fill in (("value", "full"), ("of_equally_likely", "none")):
            place = Spread.over(numbers_in(record.said_of(_CLIFF)).get(key) for record in entry.records)
            if place is not None and round(place.mean) in bits:
                at = round(place.mean)
                axis.plot([at], [bits[at]], look.marker, color=look.colour, fillstyle=fill)  # type: ignore[arg-type]
    axis.set_ylim(bottom=0)


def _points(entry: Entry) -> list[Point]:
    """(1, bits), (2, bits) ...; nothing of a record without."""
    rows = [row for record in entry.records if (row := nll_by_position(record))]
    each = zip(*rows, strict=False)
    return [(float(place), sum(values) / len(values)) for place, values in enumerate(each, 1)]


def nll_by_position(record: Record) -> list[float]:
    """Bits of each position; empty of a record that does not say it."""
    row: Any = record.said_of(_NLL).get("by_position")
    whole = isinstance(row, list) and all(isinstance(value, int | float) and is_shown(value) for value in row)
    return row if whole else []
