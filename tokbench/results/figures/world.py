"""Tokenizers on the rate-distortion plane by name, what was published hollow beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError
from tokbench.results.entries import Entry, gather
from tokbench.results.figures.base import by_context, figure_settings, log2_axis, nothing, panels, titled
from tokbench.results.figures.series import metric_label
from tokbench.results.record import Record
from tokbench.results.styles import GREY, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_world(records: Sequence[Record], published: Mapping[str, Record], metric: str = "psnr") -> Figure:
    """One panel for each set of images.

    Args:
        published: what its authors measured, by the record's name.

    Raises:
        TokbenchError: no record has that metric.
    """
    entries = [entry for entry in gather(records).entries if entry.metric(metric) and entry.bits_per_pixel()]
    if not entries:
        raise nothing("compare", metric, gather(records).entries) if records else TokbenchError("nothing to draw")
    with figure_settings():
        found = by_context(entries)
        figure, axes = panels(len(found), 4.6, 3.4)
        for axis, (context, own) in zip(axes, found.items(), strict=True):
            titled(axis, context, own)
            _paint(axis, own, published, metric)
    return figure


def _paint(axis: Axes, entries: Sequence[Entry], published: Mapping[str, Record], metric: str) -> None:
    hollow = False
    for turn, entry in enumerate(sorted(entries, key=lambda each: each.bits_per_pixel() or 0.0)):
        spread, bpp = entry.metric(metric), entry.bits_per_pixel()
        assert spread is not None and bpp is not None
        look, name = style(entry.quantizer), entry.first.name
        axis.plot([bpp], [spread.mean], look.marker, color=look.colour)
        axis.annotate(name, (bpp, spread.mean), (4, -8 if turn % 2 else 3), textcoords="offset points", fontsize=6)
        theirs = published.get(name)
        value = theirs.metrics[metric].value if theirs is not None and metric in theirs.metrics else None
        if value is not None:
            axis.plot([bpp, bpp], [spread.mean, value], "-", color=GREY, linewidth=0.6, zorder=1)
            axis.plot([bpp], [value], look.marker, color=look.colour, fillstyle="none")
            hollow = True
    if hollow:
        axis.plot([], [], "o", color=GREY, fillstyle="none", label="published")
        axis.plot([], [], "o", color=GREY, label="measured")
        axis.legend()
    rates = [math.log2(entry.bits_per_pixel() or 1.0) for entry in entries]
    powers = range(math.floor(min(rates)), math.ceil(max(rates)) + 2)  # names stand to the right of their marks
    log2_axis(axis, [2.0**power for power in powers], lambda value: f"{value:.3g}")
    axis.set_xlabel("bits per pixel (fixed length)")
    axis.set_ylabel(metric_label(entries, metric))
