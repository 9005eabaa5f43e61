"""A metric against codebook size, per generator: the form of figure 1 of MAGVIT-v2 (Yu et al., arXiv:2310.05737)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tokbench.results.entries import Entry, Spread
from tokbench.results.figures.base import by_context, log2_axis, metric_label, nothing, panels, titled
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = {"ar": "-", "mlm": "--", None: "-."}


class _Line(NamedTuple):
    quantizer: str
    depth: int
    generator: str | None


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """gFID of AR (solid) and MLM (dashed); of tokenizers alone (dash-dotted) where another metric is asked for."""
    if metric is None:
        metric = "gfid" if any(entry.metric("gfid") for entry in entries) else "rfid"
    drawable = {}
    for context, own in by_context(entries).items():
        lines = lines_by_size(own, metric)
        if lines:
            drawable[context] = (own, lines)
    if not drawable:
        raise nothing("codebook", metric, entries)
    figure, axes = panels(len(drawable))
    for axis, (context, (own, lines)) in zip(axes, drawable.items(), strict=True):
        titled(axis, context, own)
        for key, points in lines.items():
            look = style(key.quantizer)
            sizes, spreads = [size for size, _ in points], [spread for _, spread in points]
            name = key.quantizer + (f" D={key.depth}" if key.depth > 1 else "") + f" {(key.generator or '').upper()}"
            axis.errorbar(
                sizes,
                [s.mean for s in spreads],
                [s.deviation or 0.0 for s in spreads],
                fmt=look.marker + _LINES.get(key.generator, ":"),
                color=look.colour,
                elinewidth=0.8,
                label=name.rstrip(),
            )
        log2_axis(axis, [size for points in lines.values() for size, _ in points], _power)
        axis.set_xlabel("codebook size")
        axis.set_ylabel(metric_label(own, metric))
        axis.legend()
    return figure


def codebook_size(entry: Entry) -> int | None:
    """That of the quantizer: 2^18 for an LFQ of 18 bits, whether or not it is modelled in two halves."""
    size = entry.first.quantizer.get("codebook_size")
    sizes = entry.codebook_sizes()
    return size if isinstance(size, int) else sizes[0] if sizes else None


def lines_by_size(entries: Sequence[Entry], metric: str) -> dict[_Line, list[tuple[int, Spread]]]:
    """Points (codebook size, metric) of every quantizer, depth and generator, by size; of several there, the best."""
    lines: dict[_Line, dict[int, Spread]] = {}
    higher = any(m.direction == "higher" for e in entries if (m := e.measured(metric)) is not None)
    for entry in entries:
        spread, size = entry.metric(metric), codebook_size(entry)
        if spread is None or not size:
            continue
        depth = entry.first.quantizer.get("depth")
        key = _Line(str(entry.first.quantizer.get("name")), depth if isinstance(depth, int) else 1, entry.generator)
        known = lines.setdefault(key, {}).get(size)
        if known is None or (spread.mean > known.mean) == higher:
            lines[key][size] = spread
    return {key: sorted(lines[key].items()) for key in sorted(lines, key=lambda key: tuple(map(str, key)))}


def _power(size: float) -> str:
    exponent = round(size).bit_length() - 1
    return f"$2^{{{exponent}}}$" if size == 2**exponent else f"{size:,.0f}"
