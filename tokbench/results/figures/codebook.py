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
        lines = _lines(own, metric)
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
                sizes, [s.mean for s in spreads], [s.deviation or 0.0 for s in spreads],
                fmt=look.marker + _LINES.get(key.generator, ":"), color=look.colour,
                elinewidth=0.8, label=name.rstrip(),
            )
        log2_axis(axis, [size for points in lines.values() for size, _ in points], _power)
        axis.set_xlabel("codebook size")
        axis.set_ylabel(metric_label(own, metric))
        axis.legend()
    return figure


def generator(entry: Entry) -> str | None:
    """``ar`` or ``mlm``; None for a tokenizer."""
    record = entry.first
    if record.kind != "generator":
        return None
    named = record.model.get("generator") or record.model.get("kind") or record.model.get("architecture")
    return str(named) if named else None


def codebook_size(entry: Entry) -> int | None:
    """That of the quantizer: 2^18 for an LFQ of 18 bits, whether or not it is modelled in two halves."""
    size = entry.first.quantizer.get("codebook_size")
    sizes = entry.codebook_sizes()
    return size if isinstance(size, int) else sizes[0] if sizes else None


def _lines(entries: Sequence[Entry], metric: str) -> dict[_Line, list[tuple[int, Spread]]]:
    lines: dict[_Line, list[tuple[int, Spread]]] = {}
    for entry in entries:
        spread, size = entry.metric(metric), codebook_size(entry)
        if spread is None or not size:
            continue
        depth = entry.first.quantizer.get("depth")
        key = _Line(str(entry.first.quantizer.get("name")), depth if isinstance(depth, int) else 1, generator(entry))
        lines.setdefault(key, []).append((size, spread))
    return {key: sorted(points) for key, points in sorted(lines.items(), key=lambda item: tuple(map(str, item[0])))}


def _power(size: float) -> str:
    exponent = round(size).bit_length() - 1
    return f"$2^{{{exponent}}}$" if size == 2**exponent else f"{size:,.0f}"
