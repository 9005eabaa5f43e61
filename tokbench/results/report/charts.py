"""The report's interactive curves, as plotly figures in plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tokbench.results.entries import Entry
from tokbench.results.figures import series
from tokbench.results.figures.base import by_context
from tokbench.results.figures.series import Panel, Series, metric_label
from tokbench.results.styles import GREY, style
from tokbench.results.table import context_title

_MOST_LINES = 40
_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot", "": "solid"}


def charts(entries: Sequence[Entry], folder: Path) -> list[dict[str, Any]]:
    """Every chart there is data for: ``{"title", "about", "options": [{"label", "data", "layout"}]}``."""
    own = [entry for entry in entries if not entry.published]
    made: list[dict[str, Any]] = []
    for context, together in by_context(own).items():
        about = context_title(context, together)
        if context.kind == "tokenizer":
            made.append(_chart("Rate and distortion", about, together, _rate))
            made.append(_chart("Depth by depth", about, together, series.depth))
            made.append(_chart("Text read", about, together, series.reading))
        made.append(_chart("Codebook size", about, together, lambda own, name: _of_lines(series.codebook(own, name))))
        made.append(_chart("Rejection sampling", about, together, _acceptance))
    logs = series.read_logs(own, folder, _MOST_LINES)
    about = f"the first {_MOST_LINES} runs with a log" if len(logs) == _MOST_LINES else "from the training logs"
    runs = [{"label": name, **_figure(series.training(logs, name))} for name in series.logged(logs)]
    made.append({"title": "Training", "about": about, "options": runs})
    return [chart for chart in made if chart["options"]]


def _chart(
    title: str, about: str, entries: Sequence[Entry], draw: Callable[[Sequence[Entry], str], Panel | None]
) -> dict[str, Any]:
    names = dict.fromkeys(n for e in entries for r in e.records for n, m in r.metrics.items() if m.value is not None)
    order = sorted(names, key=lambda name: (name != "psnr", name != "gfid"))
    drawn = [(name, panel) for name in order if (panel := draw(entries, name))]
    options = [{"label": metric_label(entries, name), **_figure(panel)} for name, panel in drawn]
    return {"title": title, "about": about, "options": options}


def _rate(entries: Sequence[Entry], metric: str) -> Panel | None:
    """Of more than one point, and not of a rate over itself."""
    panel = None if metric in ("entropy_bpp", "model_bpp") else series.rate_distortion(entries, metric)
    marked = [s for s in panel.series if s.marks] if panel else []
    whole = sum(len(s.points) for s in marked if s.marks != "none")
    return panel if whole > 1 or any(len(s.points) > 1 for s in marked) else None


def _acceptance(entries: Sequence[Entry], metric: str) -> Panel | None:
    """Of images, which a judge chooses among; what the codes cost it cannot change."""
    return None if metric.endswith(("_bpp", "_per_code")) else _of_lines(series.acceptance(entries, metric))


def _of_lines(panel: Panel | None) -> Panel | None:
    """The panel where one of its series has more than a point."""
    return panel if panel and max(len(s.points) for s in panel.series) > 1 else None


def _figure(panel: Panel) -> dict[str, Any]:
    axis: dict[str, Any] = {"zeroline": False, "automargin": True}
    scale: dict[str, Any] = {"type": "log", "dtick": "D2", "tickformat": "~g"}
    scale = {"depths": {"dtick": 1}, "steps": {}, "pixels": {}}.get(panel.scale, scale)
    layout = {
        "xaxis": {**axis, **scale, "title": {"text": escape(panel.x)}},
        "yaxis": {**axis, "title": {"text": escape(panel.y)}},
    }
    most = _MOST_LINES * (3 if panel.scale == "rates" else 1)
    unit = " bpp" if panel.scale == "rates" else ""
    return {"data": [_trace(line, unit) for line in panel.series[:most]], "layout": layout}


def _trace(line: Series, unit: str) -> dict[str, Any]:
    look = style(line.quantizer)
    colour = GREY if line.quantizer is None else look.colour
    symbol = f"{look.symbol}-open" if line.marks == "none" else look.symbol
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "+".join(["lines"] * bool(line.line) + ["markers"] * bool(line.marks)),
        "x": [x for x, _ in line.points] or [None],
        "y": [y for _, y in line.points] or [None],
        "name": escape(line.name),
        "legendgroup": escape(line.group or line.name),
        "showlegend": bool(line.name),
        "line": {"color": colour, "dash": _DASHES[line.line], "width": 2 if line.marks else 1.5},
        "marker": {"color": colour, "symbol": symbol, "size": 8},
        "hoverinfo": "skip",
    }
    if line.errors:
        array = [deviation or 0 for deviation in line.errors]
        trace["error_y"] = {"type": "data", "array": array, "visible": any(array), "thickness": 1, "width": 2}
    if line.about:
        trace["customdata"] = list(map(escape, line.about))
        trace["hovertemplate"] = f"<b>%{{customdata}}</b><br>%{{x:.5~g}}{unit}<br>%{{y:.4g}}<extra></extra>"
    return trace
