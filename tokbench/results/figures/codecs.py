"""Rate and distortion of clips: codecs as curves, tokenizers as marks, from what ``tokbench bench codecs`` found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError, counted
from tokbench.results.definitions import DEFINITIONS, heading, in_order
from tokbench.results.figures.base import draw_panel, figure_settings, panels
from tokbench.results.figures.series import Panel, Series
from tokbench.results.styles import RATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = {"clips": "-", "random access": ":"}
_ACROSS = 52  # letters of the caption below a panel


def draw_codecs(result: Mapping[str, Any]) -> Figure:
    """One panel a metric: bits per pixel of pictures against it. Below, what the axes are and are not.

    Args:
        result: what ``bench_codecs`` gives, or its JSON read again.

    Raises:
        TokbenchError: rows without a metric.
    """
    rows = result["rows"]
    metrics = in_order(dict.fromkeys(metric for row in rows for metric in row["metrics"]))
    if not metrics:
        raise TokbenchError("nothing to draw: no row has a metric")
    with figure_settings():
        figure, axes = panels(len(metrics))
        for axis, metric in zip(axes, metrics, strict=True):
            draw_panel(axis, _panel([row for row in rows if metric in row["metrics"]], metric))
        names = axes[0].get_legend_handles_labels()
        for axis in axes:
            if (legend := axis.get_legend()) is not None:
                legend.remove()
        figure.legend(*names, loc="outside right upper")  # a dozen lines have no room among the curves
        figure.supxlabel("\n".join(textwrap.wrap(caption(result), _ACROSS * min(3, len(metrics)))), fontsize=6)
    return figure


def label(metric: str) -> str:
    """``PSNR (dB) ↑``."""
    definition = DEFINITIONS[metric]
    return heading(definition.label, definition.unit, definition.direction)


def caption(result: Mapping[str, Any]) -> str:
    """What the bits and the metrics of ``result`` are of, and what is not in it."""
    apart = f"an intra frame at least every {result['intra_period']}"
    uncut = any(row["footing"] == "random access" for row in result["rows"])
    said = [
        f"{counted(result['frames'], 'frame')} of {counted(result['videos'], 'video')}, RGB",
        "bpp: bits per pixel and frame, of a codec's raw stream without parameter sets, start codes and messages",
        f"clips: {counted(result['clip_frames'], 'frame')} coded alone, the first intra",
        f"random access: the same frames uncut, {apart}" if uncut else "",
        result["note"],
    ]
    return " ".join(f"{each}." for each in said if each)


def coded_as(row: Mapping[str, Any]) -> str:
    """What the bits of a row are: a codec's footing, or which of a tokenizer's rates."""
    if row["rate"] == "pictures":
        return str(row["footing"])
    return RATES[row["rate"]][0] + (" (bound)" if row.get("bound") else "")


def _panel(rows: Sequence[Mapping[str, Any]], metric: str) -> Panel:
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows:
        key = (row["name"], coded_as(row), row["rate"])
        curves.setdefault(key, []).append((row["bpp"], row["metrics"][metric]))
    series = [
        Series(
            f"{name}, {coded}",
            name,
            sorted(points),
            line=_LINES.get(coded, ""),
            marks="full" if rate in ("pictures", "fixed") else "none",
        )
        for (name, coded, rate), points in curves.items()
    ]
    return Panel("bits per pixel, without headers", label(metric), series, "rates")
