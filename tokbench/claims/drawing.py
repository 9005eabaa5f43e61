"""What the claims' figures share: a panel a metric, a line a series, error bars over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokbench.results.entries import Entry
from tokbench.results.figures.base import legend, log2_axis, metric_label, panels
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Series:
    """A line of a figure: entries over x. ``quantizer`` names its colour and marker (see ``results.styles``)."""

    label: str
    quantizer: str
    points: Sequence[tuple[float, Entry]]
    line: str = "-"


def draw_series(series: Sequence[Series], metrics: Sequence[str], xlabel: str, *, log2: bool = True) -> Figure | None:
    """One panel for each metric that was measured, all series in each; None where nothing was."""
    own = [metric for metric in metrics if any(entry.metric(metric) for line in series for _, entry in line.points)]
    if not own:
        return None
    figure, axes = panels(len(own))
    for axis, metric in zip(axes, own, strict=True):
        draw_panel(axis, series, metric, xlabel, log2=log2)
    legend(axes)
    return figure


def draw_panel(axis: Axes, series: Sequence[Series], metric: str, xlabel: str, *, log2: bool = True) -> None:
    """The series' means over seeds with their standard deviations."""
    xs: list[float] = []
    for line in series:
        found = [(x, spread) for x, entry in line.points if (spread := entry.metric(metric)) is not None]
        if not found:
            continue
        look = style(line.quantizer)
        axis.errorbar(
            [x for x, _ in found], [s.mean for _, s in found], [s.deviation or 0.0 for _, s in found],
            fmt=look.marker + line.line, color=look.colour, elinewidth=0.8, label=line.label,
        )  # fmt: skip
        xs += [x for x, _ in found]
    if log2 and xs:
        powers = range(math.floor(math.log2(min(xs))), math.ceil(math.log2(max(xs))) + 1)
        log2_axis(axis, [2.0**power for power in powers], lambda value: f"{value:,.4g}")
    elif len(set(xs)) <= 12:
        axis.set_xticks(sorted(set(xs)), [f"{x:g}" for x in sorted(set(xs))])
    axis.set_xlabel(xlabel)
    axis.set_ylabel(metric_label([entry for line in series for _, entry in line.points], metric))


@dataclass(frozen=True)
class Bar:
    """One bar of a panel; ``quantizer`` names its colour."""

    label: str
    quantizer: str
    entry: Entry


def draw_bars(bars: Sequence[Bar], metrics: Sequence[str]) -> Figure | None:
    """One panel for each metric that was measured, a bar for each entry; None where nothing was."""
    own = [metric for metric in metrics if any(bar.entry.metric(metric) for bar in bars)]
    if not own:
        return None
    figure, axes = panels(len(own), width=3.0)
    for axis, metric in zip(axes, own, strict=True):
        found = [(bar, spread) for bar in bars if (spread := bar.entry.metric(metric)) is not None]
        axis.bar(
            [bar.label for bar, _ in found], [s.mean for _, s in found], yerr=[s.deviation or 0.0 for _, s in found],
            color=[style(bar.quantizer).colour for bar, _ in found], width=0.6, capsize=3,
        )  # fmt: skip
        low, high = min(s.mean for _, s in found), max(s.mean for _, s in found)
        if low > 0 and (high - low) < 0.2 * high:  # differences of a few percent would not be seen from zero
            axis.set_ylim(low - (high - low) - 1e-9, high + 0.5 * (high - low) + 1e-9)
            axis.annotate("axis cut", (0.01, 0.02), xycoords="axes fraction", fontsize=6, color="#888888")
        axis.tick_params(axis="x", rotation=20)
        axis.set_ylabel(metric_label([bar.entry for bar, _ in found], metric))
    return figure
