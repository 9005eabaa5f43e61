"""Images per second against batch size, as timed while measuring (after warm-up, the device synchronised)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, did_you_mean, size_text
from tokbench.results.entries import Entry
from tokbench.results.figures.base import draw_panel, panels
from tokbench.results.figures.series import Panel, Series
from tokbench.results.record import Record
from tokbench.results.styles import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIX = "_images_per_second"


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One panel a device and precision; ``metric`` is what was timed: ``encode``, ``decode``, ``sample``, ...

    Of ``sample`` a second one beside it: how many times as fast as the slowest, at each batch.
    """
    records = [record for entry in entries for record in entry.records]
    timed = sorted({k.removesuffix(_SUFFIX) for r in records for k in r.timing if k.endswith(_SUFFIX)})
    if not timed:
        raise TokbenchError("plot speed: no record's timing has images per second")
    if metric is not None:
        metric = metric.removesuffix(_SUFFIX)
        if metric not in timed:
            raise TokbenchError(f"plot speed: {metric!r} was not timed{did_you_mean(metric, timed)}")
    metric = metric or ("decode" if "decode" in timed else timed[0])
    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        speed, batch = record.timing.get(metric + _SUFFIX), record.timing.batch_size
        if isinstance(speed, int | float) and batch is not None and speed > 0:
            lines.setdefault(_setting(record), {}).setdefault(_name(record), []).append((batch, float(speed)))
    if not lines:
        raise TokbenchError(f"plot speed: no record has both a batch size and images per second of {metric!r}")
    # The fastest of several runs: everything else on the machine only ever makes a run slower.
    fastest = {place: {n: _fastest(points) for n, points in sorted(of.items())} for place, of in lines.items()}
    rivals = {place: slowest for place, of in fastest.items() if (slowest := _slowest(of)) and metric == "sample"}
    figure, axes = panels(len(fastest) + len(rivals))
    free = iter(axes)
    for place, of_place in fastest.items():
        _curves(next(free), place, of_place, f"{metric}: images per second ↑")
        if place in rivals:
            against = of_place[rivals[place]]
            ratios = {n: {b: s / against[b] for b, s in of.items() if b in against} for n, of in of_place.items()}
            _curves(next(free), place, ratios, f"times as fast as {rivals[place]}")
    return figure


def _curves(axis: Axes, title: str, of_place: dict[str, dict[int, float]], label: str) -> None:
    axis.set_title(title, loc="left", color=GREY, fontsize=7)
    lines = [Series(name, name.split()[0], list(points.items())) for name, points in of_place.items()]
    draw_panel(axis, Panel("batch size", label, lines, "batches"))


def _fastest(points: list[tuple[int, float]]) -> dict[int, float]:
    batches = sorted({batch for batch, _ in points})
    return {each: max(speed for batch, speed in points if batch == each) for each in batches}


def _slowest(of_place: dict[str, dict[int, float]]) -> str | None:
    """What the others are a multiple of: the slowest at the largest batch they share; None where they share none."""
    shared = set.intersection(*(set(points) for points in of_place.values()))
    if len(of_place) < 2 or not shared:
        return None
    return min(of_place, key=lambda name: of_place[name][max(shared)])


def _setting(record: Record) -> str:
    timing, environment = record.timing, record.environment
    known = environment.cpu if timing.device == "cpu" else next(iter(environment.gpus or []), None)
    parts = [f"{timing.device} ({known})" if known else str(timing.device), str(timing.precision)]
    parts += [size_text(record.data.size).replace("x", "×")] if record.data else []
    if record.kind == "benchmark" and "width" in record.recipe:
        layers = f"{record.recipe.get('layers')}+{record.recipe.get('depth_layers')}"
        parts.append(f"width {record.recipe['width']}, {layers} layers")
    processes = timing.processes or 1
    return " · ".join([*parts, *([f"{processes} processes"] if processes > 1 else [])])


def _name(record: Record) -> str:
    name, depth = record.quantizer.name, record.quantizer.depth
    if record.kind == "benchmark" and record.rate is not None:
        return f"{name} {'×'.join(map(str, record.rate.tokens))}"
    return f"{name}" + (f" D={depth}" if depth and depth > 1 else "")
