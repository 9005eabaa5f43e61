"""Images a second against batch size, as timed while measuring (after warm-up, the device synchronised)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.entries import Entry
from tokbench.results.figures.base import log2_axis, panels
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIX = "_images_per_second"


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One panel a device and precision; ``metric`` is what was timed: ``encode``, ``decode``, ``sample``, ..."""
    records = [record for entry in entries for record in entry.records]
    timed = sorted({k.removesuffix(_SUFFIX) for r in records for k in r.timing if k.endswith(_SUFFIX)})
    if not timed:
        raise TokbenchError("plot speed: no record's timing has images per second")
    if metric is not None:
        metric = metric.removesuffix(_SUFFIX)
        if metric not in timed:
            raise TokbenchError(f"plot speed: {metric!r} was not timed{did_you_mean(metric, timed)}")
    metric = metric or ("decode" if "decode" in timed else timed[0])
    lines: dict[tuple[str, str, int | None, int], dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        speed, batch = record.timing.get(metric + _SUFFIX), record.timing.get("batch_size")
        if isinstance(speed, int | float) and isinstance(batch, int) and speed > 0:
            size = record.data.size if record.data else None
            processes = record.timing.get("processes") or 1
            place = (str(record.timing.get("device")), str(record.timing.get("precision")), size, int(processes))
            of_place = lines.setdefault(place, {})
            of_place.setdefault(_name(record.quantizer), []).append((batch, float(speed)))
    if not lines:
        raise TokbenchError(f"plot speed: no record has both a batch size and images per second of {metric!r}")
    figure, axes = panels(len(lines))
    for axis, ((device, precision, size, processes), of_place) in zip(axes, lines.items(), strict=True):
        several = f" · {processes} processes" if processes > 1 else ""
        axis.set_title(f"{device} · {precision} · {size}×{size}{several}", loc="left", color="#444444", fontsize=7)
        for name, points in sorted(of_place.items()):
            look = style(name.split()[0])
            batches = sorted({batch for batch, _ in points})
            # The fastest of several runs: everything else on the machine only ever makes a run slower.
            fastest = [max(speed for batch, speed in points if batch == each) for each in batches]
            axis.plot(batches, fastest, look.marker + "-", color=look.colour, label=name)
        log2_axis(axis, [batch for points in of_place.values() for batch, _ in points], lambda value: f"{value:g}")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("batch size")
        axis.set_ylabel(f"{metric}: images a second ↑")
        axis.legend()
    return figure


def _name(quantizer: dict[str, object]) -> str:
    depth = quantizer.get("depth")
    return f"{quantizer.get('name')}" + (f" D={depth}" if isinstance(depth, int) and depth > 1 else "")
