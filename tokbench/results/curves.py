"""Rate-distortion curves from rows, and the Bjontegaard difference between two of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from tokbench.results.columns import Column
from tokbench.results.entries import Entry
from tokbench.results.layout import Section, TableCell


class CurveKey(NamedTuple):
    """What stays the same along a curve: everything but the rate."""

    quantizer: str
    architecture: str | None
    downsampling: int | str | None
    weights: str | None


class Point(NamedTuple):
    """Bits per pixel and the metric there (mean over seeds, with its deviation)."""

    bpp: float
    value: float
    deviation: float | None
    entry: Entry


def curve_key(entry: Entry) -> CurveKey:
    record = entry.first
    return CurveKey(entry.quantizer, record.model.architecture, entry.downsampling, record.weights.which)


def curves(entries: Sequence[Entry], metric: str, rate: str = "fixed") -> dict[CurveKey, list[Point]]:
    """Points of every curve, by rate.

    Args:
        rate: ``fixed`` (what is stored: log2 K bits per code), ``entropy`` (``entropy_bpp``: the codes' own
            entropy) or ``model`` (``model_bpp``: what a generator as probability model would need).
    """
    found: defaultdict[CurveKey, list[Point]] = defaultdict(list)
    for entry in entries:
        spread = entry.metric(metric)
        if rate == "fixed":
            bpp = entry.bits_per_pixel()
        else:
            coded = entry.metric(f"{rate}_bpp")
            bpp = None if coded is None else coded.mean
        if spread is not None and bpp:
            found[curve_key(entry)].append(Point(bpp, spread.mean, spread.deviation, entry))
    in_order = sorted(found.items(), key=lambda item: tuple(map(str, item[0])))
    return {key: sorted(points, key=lambda p: (p.bpp, p.value)) for key, points in in_order}


def labels(keys: Sequence[CurveKey]) -> dict[CurveKey, str]:
    """The quantizer's name, and as much more as it takes to tell the curves apart."""
    named: dict[CurveKey, str] = {}
    for key in keys:
        twins = [other for other in keys if other.quantizer == key.quantizer]
        parts = [key.quantizer]
        if len({other.architecture for other in twins}) > 1:
            parts.append(str(key.architecture))
        if len({other.downsampling for other in twins}) > 1:
            parts.append(f"f={key.downsampling}")
        if len({other.weights for other in twins}) > 1:
            parts.append(str(key.weights))
        named[key] = " ".join(parts)
    return named


def front(points: Sequence[tuple[float, float]], higher_is_better: bool = True) -> list[tuple[float, float]]:
    """The points no other point beats in both rate and quality, by rising rate (and so by rising quality)."""
    sign = 1.0 if higher_is_better else -1.0
    kept: list[tuple[float, float]] = []
    for rate, value in sorted(points, key=lambda p: (p[0], -sign * p[1])):
        if not kept or sign * value > sign * kept[-1][1]:
            kept.append((rate, value))
    return kept


def bd_rate(
    reference: Sequence[tuple[float, float]], curve: Sequence[tuple[float, float]], higher_is_better: bool = True
) -> float:
    """Bjontegaard's rate difference in percent: the bits ``curve`` spends more than ``reference`` at equal quality.

    The mean, over the range of quality both reach, of the difference of log rate, each curve interpolated piecewise
    cubically (PCHIP) through its best points (G. Bjontegaard, ITU-T VCEG-M33, 2001; piecewise cubic: VCEG-AL22).
    Negative is better.

    Args:
        reference, curve: (rate, quality) pairs, at least two useful ones each.

    Raises:
        ValueError: fewer than two useful points, or no range of quality in common.
    """
    from scipy.interpolate import PchipInterpolator

    sign = 1.0 if higher_is_better else -1.0
    fitted = []
    for points in (reference, curve):
        best = front(points, higher_is_better)
        if len(best) < 2:
            raise ValueError("fewer than two points of rising rate and quality")
        fitted.append(([sign * value for _, value in best], [math.log(rate) for rate, _ in best]))
    low = max(quality[0] for quality, _ in fitted)
    high = min(quality[-1] for quality, _ in fitted)
    if not low < high:
        raise ValueError("no range of quality in common")
    areas = [float(PchipInterpolator(quality, rates).integrate(low, high)) for quality, rates in fitted]
    return (math.exp((areas[1] - areas[0]) / (high - low)) - 1) * 100


def add_bd_rate(section: Section, entries: Sequence[Entry], reference: str, metric: str = "psnr") -> None:
    """A column with each curve's BD-rate against the ``reference`` quantizer's of the same model and weights."""
    measured = [entry for entry in entries if not entry.published]
    if reference not in {curve_key(entry).quantizer for entry in measured}:
        return
    values = [m for e in measured if (m := e.measured(metric)) is not None]
    higher = not values or values[0].direction != "lower"
    label = values[0].label if values else metric
    points = {key: [(p.bpp, p.value) for p in found] for key, found in curves(measured, metric).items()}
    column = Column("bd_rate", f"BD-rate against {reference}", "lower", "%", digits=1)
    section.columns.append(column)
    for row in section.rows:
        cell = TableCell(None, "" if row.entry.prefix is not None or row.entry.published else "-")
        row.cells.append(cell)
        if cell.text == "-":
            own = curve_key(row.entry)
            try:
                cell.value = bd_rate(points.get(own._replace(quantizer=reference), []), points.get(own, []), higher)
                cell.text = "0" if own.quantizer == reference else f"{cell.value:+.1f}"
            except ValueError as error:
                cell.note = section.note(f"BD-rate: {error}")
    section.remarks.append(f"BD-rate: of all rows of a quantizer together, from {label} over fixed-length bpp.")
