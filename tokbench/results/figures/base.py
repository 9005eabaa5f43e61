"""What all figures share: panels, legend, type sizes, files."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError, did_you_mean, visible
from tokbench.results.entries import Context, Entry, gather
from tokbench.results.files import write
from tokbench.results.record import Record
from tokbench.results.table import context_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = ("rate-distortion", "codebook", "depth", "usage", "training", "speed")
FORMATS = (".svg", ".pdf", ".png")
MOST_PANELS = 12

# Sizes for a column of a paper; fonts embedded as fonts in PDF, as outlines in SVG (the same on every machine).
_SETTINGS: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "pdf.fonttype": 42,
    "svg.hashsalt": "tokbench",
}


def draw(kind: str, records: Sequence[Record], folder: Path | None = None, metric: str | None = None) -> Figure:
    """One figure.

    Args:
        kind: one of ``FIGURES``.
        records: measured ones; failed ones are passed over.
        folder: what the records' artifacts are relative to (usage and training read files).
        metric: default: PSNR, or what the kind is about (gFID for ``codebook``).

    Raises:
        TokbenchError: an unknown kind, or nothing to draw, with what is missing.
    """
    if kind not in FIGURES:
        raise TokbenchError(f"no figure {kind!r}{did_you_mean(kind, FIGURES)}")
    painter = importlib.import_module(f"tokbench.results.figures.{kind.replace('-', '_')}")
    entries = [entry for entry in gather(records).entries if not entry.published]
    if not entries:
        raise TokbenchError(f"plot {kind}: no finished records to draw")
    with figure_settings():
        figure: Figure = painter.paint(entries, folder or Path(), metric)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Write SVG, PDF or PNG by the name's end: whole or not at all, and equal figures to equal bytes."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise TokbenchError(f"{path}: a figure's name ends in {', '.join(FORMATS)}")
    stamps: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
    page = io.BytesIO()
    with figure_settings():
        _as_text(figure)
        figure.savefig(page, format=suffix[1:], bbox_inches="tight", metadata=stamps[suffix])
    write(path, page.getvalue())


def _as_text(figure: Figure) -> None:
    """Names from records are drawn letter by letter: dollars are not mathematics, and nothing is hidden or reordered.

    The labels of ticks are left alone: they are numbers, and on a logarithmic axis matplotlib's own mathematics.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    ticks = {id(text) for axis in figure.findobj(Axis) for text in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if id(text) not in ticks and (said := text.get_text()):
            text.set_parse_math(False)
            text.set_text("\n".join(map(visible, said.split("\n"))))


@contextmanager
def figure_settings() -> Iterator[None]:
    """Type sizes, grid and colours of all figures; figures are made inside."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def by_context(entries: Sequence[Entry]) -> dict[Context, list[Entry]]:
    """Entries measured on the same images, in one panel each."""
    panels: dict[Context, list[Entry]] = {}
    for entry in entries:
        panels.setdefault(Context.of(entry.first), []).append(entry)
    return panels


def panels(count: int, width: float = 3.6, height: float = 2.8) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, at most three in a row."""
    from matplotlib.figure import Figure

    if count > MOST_PANELS:
        raise TokbenchError(f"{count} panels are more than fit ({MOST_PANELS}): choose with --where")
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = [axis for row in grid for axis in row]
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def legend(axes: Sequence[Axes]) -> None:
    """One legend for panels of the same series: in the place the last row has to spare, else in the first panel."""
    spare = [axis for axis in axes[0].figure.axes if not axis.get_visible()]
    if not spare:
        axes[0].legend()
        return
    spare[0].set_visible(True)
    spare[0].set_axis_off()
    spare[0].legend(*axes[0].get_legend_handles_labels(), loc="upper left")


def titled(axis: Axes, context: Context, entries: Sequence[Entry]) -> None:
    """Above the panel, small: what was measured on."""
    axis.set_title(context_title(context, entries), loc="left", color="#444444", fontsize=7)


def metric_label(entries: Sequence[Entry], metric: str) -> str:
    """``PSNR (dB) ↑`` as the records carry it."""
    for entry in entries:
        found = entry.measured(metric)
        if found is not None:
            arrow = {"higher": " ↑", "lower": " ↓", "none": ""}[found.direction]
            return found.label + (f" ({found.unit})" if found.unit else "") + arrow
    return metric


def nothing(kind: str, metric: str, entries: Sequence[Entry]) -> TokbenchError:
    """The error that says what could be drawn instead."""
    known = sorted({name for e in entries for r in e.records for name, m in r.metrics.items() if m.value is not None})
    if metric not in known:
        return TokbenchError(f"plot {kind}: no record has a value of {metric!r}{did_you_mean(metric, known)}")
    return TokbenchError(f"plot {kind}: the records with {metric!r} do not say what goes on the other axis")


def log2_axis(axis: Axes, values: Sequence[float], format: Callable[[float], str]) -> None:
    """A base-2 logarithmic x axis with a tick at each value (thinned out where there are many)."""
    axis.set_xscale("log", base=2)
    ticks = sorted(set(values))
    while len(ticks) > 9:
        ticks = ticks[::2]
    axis.set_xticks(ticks, [format(value) for value in ticks])
    axis.set_xticks([], minor=True)
    if len(set(values)) == 1:
        axis.set_xlim(ticks[0] / 2, ticks[0] * 2)
