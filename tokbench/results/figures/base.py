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
from tokbench.results.figures import series
from tokbench.results.figures.series import Panel
from tokbench.results.figures.series import metric_label as metric_label
from tokbench.results.files import write
from tokbench.results.record import Record
from tokbench.results.styles import GREY, style
from tokbench.results.table import context_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS = {
    "rate-distortion": series.rate_distortion,
    "codebook": series.codebook,
    "depth": series.depth,
    "compute": series.compute,
    "acceptance": series.acceptance,
    "reading": series.reading,
}
FIGURES = (*_ROWS, "usage", "positions", "training", "speed")
_OTHERWISE = {"codebook": "rfid", "acceptance": "is"}
_OWN = {"reading": "text_accuracy"}
FORMATS = (".svg", ".pdf", ".png")
MOST_PANELS, MOST_RUNS = 12, 40

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
    entries = [entry for entry in gather(records).entries if not entry.published]
    if not entries:
        raise TokbenchError(f"plot {kind}: no finished records to draw")
    with figure_settings():
        if kind in ("usage", "positions", "speed"):
            painter = importlib.import_module(f"tokbench.results.figures.{kind}")
            figure: Figure = painter.paint(entries, folder or Path(), metric)
            return figure
        return _training(entries, folder or Path(), metric) if kind == "training" else _by_rows(kind, entries, metric)


def _by_rows(kind: str, entries: Sequence[Entry], metric: str | None) -> Figure:
    """One panel for each set of images; error bars are standard deviations over seeds."""
    if metric is None and kind in _OTHERWISE:
        metric = "gfid" if any(entry.metric("gfid") for entry in entries) else _OTHERWISE[kind]
    metric = metric or _OWN.get(kind, "psnr")
    found = [(context, own, _ROWS[kind](own, metric)) for context, own in by_context(entries).items()]
    drawable = [(context, own, panel) for context, own, panel in found if panel is not None]
    if not drawable:
        raise nothing(kind, metric, entries)
    figure, axes = panels(len(drawable))
    for axis, (context, own, panel) in zip(axes, drawable, strict=True):
        titled(axis, context, own)
        draw_panel(axis, panel)
    return figure


def _training(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One line a run."""
    logs = series.read_logs(entries, folder, MOST_RUNS + 1)
    if not logs:
        raise TokbenchError("plot training: no record's training log is where the record says")
    known = series.logged(logs)
    metric = metric or next(iter(known), "loss")
    if metric not in known:
        raise TokbenchError(f"plot training: {metric!r} was not logged{did_you_mean(metric, known)}")
    if len(logs) > MOST_RUNS:
        raise TokbenchError(f"more than {MOST_RUNS} training curves cannot be told apart: choose with --where")
    figure, (axis,) = panels(1, width=4.4, height=3.0)
    draw_panel(axis, series.training(logs, metric))
    return figure


def draw_panel(axis: Axes, panel: Panel) -> None:
    """The lines, the legend and the axes of one panel."""
    handles = []
    for line in panel.series:
        look = style(line.quantizer)
        x, y = [x for x, _ in line.points], [y for _, y in line.points]
        settings: Any = {"color": GREY if line.quantizer is None else look.colour, "label": line.name or None}
        if line.marks:
            settings["fillstyle"] = line.marks
        form = (look.marker if line.marks else "") + line.line
        if line.errors:
            errors = [each or 0.0 for each in line.errors]
            drawn: Any = axis.errorbar(x, y, errors, fmt=form, elinewidth=0.8, **settings)
        else:
            (drawn,) = axis.plot(x, y, form, **settings)
        handles += [drawn] if line.name else []
    axis.legend(handles=handles)
    places = [x for line in panel.series for x, _ in line.points]
    if panel.scale == "rates":
        low, high = math.floor(math.log2(min(places))), math.ceil(math.log2(max(places)))
        log2_axis(axis, [2.0**power for power in range(low, max(high, low + 1) + 1)], lambda value: f"{value:.3g}")
    elif panel.scale == "sizes":
        log2_axis(axis, places, _power)
    elif panel.scale in ("batches", "shares", "pixels"):
        log2_axis(axis, places, lambda value: f"{value:g}")
        if panel.scale == "batches":
            axis.set_ylim(bottom=0)
    elif panel.scale == "compute":
        axis.set_xscale("log")
    elif panel.scale == "depths":
        deepest = int(max(places))
        axis.set_xticks(range(1, deepest + 1) if deepest <= 12 else range(0, deepest + 1, max(1, deepest // 8)))
    axis.set_xlabel(panel.x)
    axis.set_ylabel(panel.y)


def _power(size: float) -> str:
    exponent = round(size).bit_length() - 1
    return f"$2^{{{exponent}}}$" if size == 2**exponent else f"{size:,.0f}"


def save(figure: Figure, path: Path) -> None:
    """Write SVG, PDF or PNG by the name's end: whole or not at all, and equal figures to equal bytes."""
    check_format(path)
    suffix = path.suffix.lower()
    stamps: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
    page = io.BytesIO()
    with figure_settings():
        _as_text(figure)
        figure.savefig(page, format=suffix[1:], bbox_inches="tight", metadata=stamps[suffix])
    write(path, page.getvalue())


def check_format(path: Path) -> None:
    """TokbenchError unless ``save`` knows the format by the end of the name."""
    if path.suffix.lower() not in FORMATS:
        raise TokbenchError(f"{path}: a figure's name ends in {', '.join(FORMATS)}")


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
    axis.set_title(context_title(context, entries), loc="left", color=GREY, fontsize=7)


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
