"""Rate and distortion of clips: codecs as curves, tokenizers as points, from the rows of ``tokbench bench codecs``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError, counted
from tokbench.results.figures.base import figure_settings, legend, log2_axis, panels
from tokbench.results.figures.rate_distortion import powers
from tokbench.results.styles import RATES, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"psnr": "PSNR (dB)", "ms_ssim": "MS-SSIM", "ssim": "SSIM", "lpips": "LPIPS (alex)"}
_LINES = {"clips": "-", "random access": ":"}


def draw_codecs(result: Mapping[str, Any]) -> Figure:
    """One panel a metric: bits per pixel of pictures against it. Below, what the axes are and are not.

    Args:
        result: what ``bench_codecs`` gives, or its JSON read again.

    Raises:
        TokbenchError: rows without a metric.
    """
    rows = result["rows"]
    metrics = [metric for metric in LABELS if any(row["metrics"].get(metric) is not None for row in rows)]
    if not metrics:
        raise TokbenchError("nothing to draw: no row has a metric")
    with figure_settings():
        figure, axes = panels(len(metrics))
        for axis, metric in zip(axes, metrics, strict=True):
            _panel(axis, [row for row in rows if row["metrics"].get(metric) is not None], metric)
        legend(axes)
        figure.supxlabel("\n".join(textwrap.wrap(_caption(result), 52 * min(3, len(metrics)))), fontsize=6)
    return figure


def _panel(axis: Axes, rows: Sequence[Mapping[str, Any]], metric: str) -> None:
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in rows:
        curves.setdefault((row["name"], row["footing"], row["rate"]), []).append((row["bpp"], row["metrics"][metric]))
    for (name, footing, rate), points in curves.items():
        look, points = style(name), sorted(points)
        what = footing if rate == "pictures" else RATES[rate][0]
        axis.plot(
            [bpp for bpp, _ in points],
            [value for _, value in points],
            _LINES[footing] if rate == "pictures" else "none",
            color=look.colour,
            marker=look.marker,
            fillstyle="full" if rate in ("pictures", "fixed") else "none",
            label=f"{name}, {what}",
        )
    log2_axis(axis, powers([row["bpp"] for row in rows]), lambda value: f"{value:g}")
    axis.set_xlabel("bits per pixel, without headers")
    axis.set_ylabel(LABELS[metric])


def _caption(result: Mapping[str, Any]) -> str:
    frames, period = result["clip_frames"], result["intra_period"]
    return (
        f"{result['frames']:,} frames of {counted(result['videos'], 'video')}, RGB. clips: {frames} frames coded "
        f"alone, the first intra. random access: the same frames uncut, an intra frame at least every {period}. "
        f"{result['note']}."
    )
