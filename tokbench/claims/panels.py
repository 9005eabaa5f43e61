"""The claims' figures: a panel declares what stands on x and y and which series are in it; this draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokbench.results.entries import Entry, Spread
from tokbench.results.figures.base import legend, log2_axis, metric_label
from tokbench.results.figures.base import panels as empty_panels
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Series:
    """Numbers over x, which is a number or, for categories, a word.

    ``look`` is the quantizer whose colour and marker it has (see ``results.styles``), or one for each point.
    """

    points: Sequence[tuple[float | str, Spread | None]]
    look: str | Sequence[str] = "vq"
    label: str = ""
    line: str = "-"  # matplotlib's; without one the points are not connected
    marker: bool = True
    marks: str = "full"  # matplotlib's fill style; ``none``: hollow
    alpha: float = 1.0

    @property
    def there(self) -> list[tuple[float | str, Spread]]:
        """What was measured."""
        return [(x, spread) for x, spread in self.points if spread is not None]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    x: str
    y: str
    by: Sequence[Series]
    bars: bool = False
    log2: bool = False  # x
    log: int = 0  # base of y; 0: linear
    zero: bool = False  # y begins there
    rule: tuple[float, str] | None = None  # a horizontal line, and what it is
    width: float = 3.6  # inches


@dataclass(frozen=True)
class Line:
    """Entries over x, before it is said in which metric."""

    label: str
    look: str
    points: Sequence[tuple[float | str, Entry]]
    line: str = "-"
    marks: str = "full"


def metric_panels(lines: Sequence[Line], metrics: Sequence[str], x: str = "", **options: Any) -> list[Panel]:
    """A panel for each metric that was measured, all lines in each; ``options`` are those of ``Panel``."""
    found = []
    for metric in metrics:
        series = [
            Series(
                [(at, e.metric(metric)) for at, e in line.points], line.look, line.label, line.line, marks=line.marks
            )
            for line in lines
        ]
        entries = [entry for line in lines for _, entry in line.points]
        found.append(Panel(x, metric_label(entries, metric), series, **options))
    return found


def draw(panels: Sequence[Panel]) -> Figure | None:
    """The panels that have something to show; None where none has. Within ``figures.base.figure_settings()``."""
    shown = [panel for panel in panels if any(series.there for series in panel.by)]
    if not shown:
        return None
    figure, axes = empty_panels(len(shown), width=min(panel.width for panel in shown))
    for axis, panel in zip(axes, shown, strict=True):
        (_bars if panel.bars else _lines)(axis, panel)
        _finish(axis, panel)
    _legends(axes)
    return figure


def _lines(axis: Axes, panel: Panel) -> None:
    xs: list[float | str] = []
    for series in panel.by:
        if not series.there:
            continue
        look = style(series.look if isinstance(series.look, str) else series.look[0])
        deviations = [s.deviation or 0.0 for _, s in series.there] if series.marker else None
        axis.errorbar(
            [x for x, _ in series.there], [s.mean for _, s in series.there], deviations,  # type: ignore[arg-type]
            fmt=(look.marker if series.marker else "") + series.line, color=look.colour, elinewidth=0.8,
            label=series.label or None, fillstyle=series.marks,
        )  # fmt: skip
        xs += [x for x, _ in series.there]
    numbers = sorted({x for x in xs if not isinstance(x, str)})
    if not numbers:
        axis.margins(x=0.15)
        axis.tick_params(axis="x", rotation=20)
    elif panel.log2:
        powers = range(math.floor(math.log2(numbers[0])), math.ceil(math.log2(numbers[-1])) + 1)
        ticks = numbers if len(numbers) <= 6 else [2.0**power for power in powers]
        log2_axis(axis, ticks, lambda value: f"{value:,.4g}")
    elif len(numbers) <= 12:
        axis.set_xticks(numbers, [f"{x:g}" for x in numbers])


def _bars(axis: Axes, panel: Panel) -> None:
    """A group of bars for each x, a bar of it for each series; bars of one series carry their number."""
    names = list(dict.fromkeys(x for series in panel.by for x, _ in series.there))
    step = 0.8 / len(panel.by) if len(panel.by) > 1 else 0.6
    for k, series in enumerate(panel.by):
        looks = [series.look] * len(series.points) if isinstance(series.look, str) else list(series.look)
        colours = [style(look).colour for look, (_, s) in zip(looks, series.points, strict=True) if s is not None]
        bars = axis.bar(
            [names.index(x) + (k - (len(panel.by) - 1) / 2) * step for x, _ in series.there],
            [s.mean for _, s in series.there], 0.93 * step if len(panel.by) > 1 else step,
            yerr=[s.deviation or 0.0 for _, s in series.there], color=colours, alpha=series.alpha,
            error_kw={"elinewidth": 0.8}, capsize=3 if len(panel.by) == 1 else 0,
        )  # fmt: skip
        if series.label:  # the colours are those of the quantizers: the legend shows the shade alone
            axis.bar(0, 0, color="#444444", alpha=series.alpha, label=series.label)
        elif len(panel.by) == 1 and len(names) <= 12:  # of more the numbers would lie over each other
            axis.bar_label(bars, [f"{s.mean:.3g}" for _, s in series.there], padding=2, fontsize=7)
    turned = (60, "right") if len(names) > 6 else (20, "center")
    axis.set_xticks(range(len(names)), list(map(str, names)), rotation=turned[0], ha=turned[1])
    axis.grid(axis="x", visible=False)
    spreads = [s for series in panel.by for _, s in series.there]
    low, high = (best(s.mean + sign * (s.deviation or 0.0) for s in spreads) for best, sign in ((min, -1), (max, 1)))
    if low > 0 and (high - low) < 0.2 * high and not panel.log and panel.rule is None and len(panel.by) == 1:
        # Differences of a few percent would not be seen from zero.
        axis.set_ylim(low - (high - low) / 2 - 1e-9, high + (high - low) / 4 + 1e-9)
        axis.annotate("axis cut", (0.01, 0.02), xycoords="axes fraction", fontsize=6, color="#888888")


def _finish(axis: Axes, panel: Panel) -> None:
    if panel.rule is not None:
        axis.axhline(panel.rule[0], color="#666666", linewidth=0.8, linestyle="--", label=panel.rule[1] or None)
    axis.set_xlabel(panel.x)
    axis.set_ylabel(panel.y)
    if panel.log:
        axis.set_yscale("log", base=panel.log)
        axis.yaxis.set_major_formatter("{x:g}")
        low, high = axis.get_ylim()
        axis.yaxis.set_minor_formatter("{x:g}" if high < 20 * low else "")
    if panel.zero:
        axis.set_ylim(bottom=0)


def _legends(axes: Sequence[Axes]) -> None:
    """One for all panels of the same series; else one in the first panel of each kind."""
    names = [tuple(axis.get_legend_handles_labels()[1]) for axis in axes]
    if len(set(names)) == 1 and names[0]:
        legend(axes)
        return
    for i, axis in enumerate(axes):
        if names[i] and names[i] not in names[:i]:
            axis.legend(fontsize=6 if len(names[i]) > 3 else None)
