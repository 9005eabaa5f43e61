"""Quality against bits per pixel, each quantizer a curve, each kind of rate a line style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tokbench.results.curves import curves, front, labels
from tokbench.results.entries import Entry
from tokbench.results.figures.base import by_context, log2_axis, metric_label, nothing, panels, titled
from tokbench.results.styles import RATES, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILLS: tuple[Literal["full", "none", "left", "right"], ...] = ("full", "none", "left", "right")


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One panel for each set of images; error bars are standard deviations over seeds."""
    metric = metric or "psnr"
    drawable = {c: es for c, es in by_context(entries).items() if curves(es, metric)}
    if not drawable:
        raise nothing("rate-distortion", metric, entries)
    figure, axes = panels(len(drawable))
    for axis, (context, own) in zip(axes, drawable.items(), strict=True):
        titled(axis, context, own)
        _panel(axis, own, metric)
    return figure


def _panel(axis: Axes, entries: Sequence[Entry], metric: str) -> None:
    from matplotlib.lines import Line2D

    found = {rate: curves(entries, metric, rate) for rate in RATES}
    keys = list(dict.fromkeys(key for of_rate in found.values() for key in of_rate))
    names = labels(keys)
    measured = next(m for e in entries if (m := e.measured(metric)) is not None)
    rates: list[float] = []
    handles = []
    for key in keys:
        look = style(key.quantizer)
        twins = [other for other in keys if other.quantizer == key.quantizer]
        fill = _FILLS[twins.index(key) % len(_FILLS)]
        for rate, (_, line, _) in RATES.items():
            points = found[rate].get(key, [])
            best = front([(p.bpp, p.value) for p in points], measured.direction != "lower")
            axis.plot([r for r, _ in best], [v for _, v in best], line, color=look.colour)
            axis.errorbar(
                [p.bpp for p in points],
                [p.value for p in points],
                [p.deviation or 0.0 for p in points],
                fmt=look.marker,
                color=look.colour,
                fillstyle=fill if rate == "fixed" else "none",
                elinewidth=0.8,
            )
            rates += [p.bpp for p in points]
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, fillstyle=fill, label=names[key]))
    drawn = [rate for rate in RATES if found[rate]]
    if len(drawn) > 1:
        handles += [Line2D([], [], color="#444444", linestyle=RATES[r][1], label=RATES[r][0]) for r in drawn]
    axis.legend(handles=handles, loc="best")
    log2_axis(axis, _powers(rates), lambda value: f"{value:g}")
    axis.set_xlabel("bits per pixel" if len(drawn) > 1 else f"bits per pixel ({RATES[drawn[0]][0]})")
    axis.set_ylabel(metric_label(entries, metric))


def _powers(rates: list[float]) -> list[float]:
    low, high = math.floor(math.log2(min(rates))), math.ceil(math.log2(max(rates)))
    return [2.0**power for power in range(low, max(high, low + 1) + 1)]
