"""The report's interactive curves, as plotly figures in plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from tokbench.results.curves import CurveKey, Point, curves, front, labels
from tokbench.results.entries import Entry
from tokbench.results.figures.base import by_context, metric_label
from tokbench.results.figures.codebook import lines_by_size
from tokbench.results.figures.training import read_log
from tokbench.results.record import Record
from tokbench.results.styles import RATES, style
from tokbench.results.table import context_title

_MOST_LINES = 40
_MOST_NAMED = 8
_DASHES = ("solid", "dash", "dot", "dashdot")


def charts(entries: Sequence[Entry], folder: Path) -> list[dict[str, Any]]:
    """Every chart there is data for: ``{"title", "about", "options": [{"label", "data", "layout"}]}``."""
    own = [entry for entry in entries if not entry.published]
    made: list[dict[str, Any]] = []
    for context, together in by_context(own).items():
        about = context_title(context, together)
        if context.kind == "tokenizer":
            made.append(_chart("Rate and distortion", about, _metrics(together), lambda m, t=together: _rate(t, m)))
            made.append(_chart("Depth by depth", about, _metrics(together), lambda m, t=together: _depth(t, m)))
        made.append(_chart("Codebook size", about, _metrics(together), lambda m, t=together: _codebook(t, m)))
    made.append(_training(own, folder))
    return [chart for chart in made if chart["options"]]


def _chart(title: str, about: str, metrics: dict[str, str], draw: Any) -> dict[str, Any]:
    options = [{"label": label, **figure} for name, label in metrics.items() if (figure := draw(name))]
    return {"title": title, "about": about, "options": options}


def _metrics(entries: Sequence[Entry]) -> dict[str, str]:
    names = dict.fromkeys(n for e in entries for r in e.records for n, m in r.metrics.items() if m.value is not None)
    first = [name for name in ("psnr", "gfid") if name in names]
    return {name: metric_label(entries, name) for name in [*first, *(n for n in names if n not in first)]}


def _rate(entries: Sequence[Entry], metric: str) -> dict[str, Any] | None:
    found = {rate: curves(entries, metric, rate) for rate in RATES}
    keys = list(dict.fromkeys(key for of_rate in found.values() for key in of_rate))
    if sum(len(points) for points in found["fixed"].values()) < 2 or metric in ("entropy_bpp", "model_bpp"):
        return None
    names = labels(keys)
    direction = next(m.direction for e in entries if (m := e.measured(metric)) is not None)
    data: list[dict[str, Any]] = []
    for key in keys:
        for rate, (word, _, dash) in RATES.items():
            points = found[rate].get(key, [])
            if points:
                data += _curve(key, names[key], rate, word, dash, points, direction != "lower")
    drawn = [rate for rate in RATES if found[rate]]
    if len(drawn) > 1:
        data += [_sample_line(*RATES[rate]) for rate in drawn]
    return {"data": data, "layout": _layout("bits per pixel", metric_label(entries, metric), log=True)}


def _sample_line(word: str, _: str, dash: str) -> dict[str, Any]:
    """A line in the legend only: what its style stands for."""
    line = {"color": "#444444", "dash": dash, "width": 2}
    return {"type": "scatter", "mode": "lines", "x": [None], "y": [None], "name": word, "line": line}


def _curve(
    key: CurveKey, name: str, rate: str, word: str, dash: str, points: Sequence[Point], higher: bool
) -> list[dict[str, Any]]:
    look = style(key.quantizer)
    group = escape(name)
    best = front([(p.bpp, p.value) for p in points], higher)
    line = {
        "type": "scatter", "mode": "lines", "x": [x for x, _ in best], "y": [y for _, y in best], "legendgroup": group,
        "line": {"color": look.colour, "dash": dash, "width": 2}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    symbol = look.symbol if rate == "fixed" else f"{look.symbol}-open"
    dots = {
        "type": "scatter", "mode": "markers", "name": group, "legendgroup": group, "showlegend": rate == "fixed",
        "x": [p.bpp for p in points], "y": [p.value for p in points], "error_y": _bars([p.deviation for p in points]),
        "marker": {"color": look.colour, "symbol": symbol, "size": 9},
        "customdata": [_about(p.entry) for p in points],
        "hovertemplate": f"<b>%{{customdata}}</b><br>%{{x:.3f}} bpp ({escape(word)})<br>%{{y:.4g}}<extra></extra>",
    }  # fmt: skip
    return [line, dots]


def _depth(entries: Sequence[Entry], metric: str) -> dict[str, Any] | None:
    data: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for entry in entries:
        if len(data) == _MOST_LINES:
            break
        if not entry.prefixes():
            continue
        points = [(p.prefix or entry.depth or 1, p.metric(metric)) for p in [*entry.prefixes(), entry]]
        drawn = [(depth, spread) for depth, spread in points if spread is not None]
        if len(drawn) < 2:
            continue
        name = str(entry.first.quantizer.get("name"))
        seen[name] = seen.get(name, 0) + 1
        data.append(_line([d for d, _ in drawn], [s.mean for _, s in drawn], [s.deviation for _, s in drawn],
                          name, _about(entry), _DASHES[(seen[name] - 1) % 4]))  # fmt: skip
    layout = _layout("depths decoded", metric_label(entries, metric))
    layout["xaxis"]["dtick"] = 1
    return {"data": data, "layout": layout} if data else None


def _codebook(entries: Sequence[Entry], metric: str) -> dict[str, Any] | None:
    found = lines_by_size(entries, metric)
    if max((len(points) for points in found.values()), default=0) < 2:
        return None
    data: list[dict[str, Any]] = []
    for key, points in found.items():
        name = key.quantizer + (f" D={key.depth}" if key.depth > 1 else "") + f" {(key.generator or '').upper()}"
        dash = "dash" if key.generator == "mlm" else "solid"
        data.append(_line([size for size, _ in points], [s.mean for _, s in points], [s.deviation for _, s in points],
                          key.quantizer, escape(name.rstrip()), dash))  # fmt: skip
    layout = _layout("codebook size", metric_label(entries, metric), log=True)
    return {"data": data[:_MOST_LINES], "layout": layout}


def _training(entries: Sequence[Entry], folder: Path) -> dict[str, Any]:
    logs: list[tuple[Entry, Record, list[dict[str, float]]]] = []
    for entry, record in [(each, record) for each in entries for record in each.records]:
        if len(logs) == _MOST_LINES:
            break
        if log := read_log(record, folder):
            logs.append((entry, record, log))
    names = dict.fromkeys(k for _, _, log in logs for line in log for k in line if k not in ("step", "seconds"))
    options = []
    for name in sorted(names, key=lambda n: (n != "psnr", n != "loss")):
        data, seen = [], dict[str, int]()
        for entry, record, log in logs:
            quantizer = str(record.quantizer.get("name"))
            seen[quantizer] = seen.get(quantizer, 0) + 1
            points = [(line["step"], line[name]) for line in log if name in line]
            label = _about(entry) + (f", seed {record.seed}" if len(entry.records) > 1 else "")
            line = _line([x for x, _ in points], [y for _, y in points], [], quantizer, label, "solid")
            data.append({**line, "mode": "lines", "line": {**line["line"], "width": 1.5}})
            if len(logs) > _MOST_NAMED:  # one name a quantizer, which hides or shows all of its runs
                group = escape(quantizer)
                data[-1] |= {"name": group, "legendgroup": group, "showlegend": seen[quantizer] == 1}
        options.append({"label": name, "data": data, "layout": _layout("step", name)})
    about = f"the first {_MOST_LINES} runs with a log" if len(logs) == _MOST_LINES else "from the training logs"
    return {"title": "Training", "about": about, "options": options}


def _line(
    x: list[Any], y: list[float], bars: list[float | None], quantizer: str, name: str, dash: str
) -> dict[str, Any]:
    look = style(quantizer)
    return {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "name": name, "error_y": _bars(bars),
        "line": {"color": look.colour, "dash": dash, "width": 2},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 8},
        "hovertemplate": f"<b>{name}</b><br>%{{x}}<br>%{{y:.4g}}<extra></extra>",
    }  # fmt: skip


def _bars(deviations: Sequence[float | None]) -> dict[str, Any]:
    array = [deviation or 0 for deviation in deviations]
    return {"type": "data", "array": array, "visible": any(deviations), "thickness": 1, "width": 2}


def _about(entry: Entry) -> str:
    name = entry.first.name
    return escape(entry.label + ("" if name == entry.first.quantizer.get("name") else f" · {name}"))


def _layout(x: str, y: str, log: bool = False) -> dict[str, Any]:
    axis: dict[str, Any] = {"gridcolor": "#e4e4e4", "zeroline": False, "automargin": True}
    logarithmic = {"type": "log", "dtick": "D2", "tickformat": "~g"} if log else {}
    return {
        "xaxis": {**axis, **logarithmic, "title": {"text": escape(x)}},
        "yaxis": {**axis, "title": {"text": escape(y)}},
    }
