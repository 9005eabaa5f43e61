"""A metric against how many depths are decoded: what each further residual code is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.results.entries import Entry
from tokbench.results.figures.base import by_context, metric_label, nothing, panels, titled
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", ":", "-.")


def paint(entries: Sequence[Entry], folder: Path, metric: str | None) -> Figure:
    """One line a row with depth, one panel for each set of images."""
    metric = metric or "psnr"
    deep = [entry for entry in entries if any(p.metric(metric) for p in entry.prefixes())]
    if not deep:
        raise nothing("depth", metric, entries)
    grouped = by_context(deep)
    figure, axes = panels(len(grouped))
    for axis, (context, own) in zip(axes, grouped.items(), strict=True):
        titled(axis, context, own)
        seen: dict[str, int] = {}
        for entry in sorted(own, key=lambda e: (e.codebook_sizes() or [0], e.depth or 0)):
            points = [(p.prefix or entry.depth or 1, p.metric(metric)) for p in [*entry.prefixes(), entry]]
            drawn = [(depth, spread) for depth, spread in points if spread is not None]
            name = str(entry.first.quantizer.get("name"))
            line = _LINES[seen.get(name, 0) % len(_LINES)]
            seen[name] = seen.get(name, 0) + 1
            look, sizes = style(name), entry.codebook_sizes()
            axis.errorbar(
                [depth for depth, _ in drawn],
                [s.mean for _, s in drawn],
                [s.deviation or 0.0 for _, s in drawn],
                fmt=look.marker + line,
                color=look.colour,
                elinewidth=0.8,
                label=f"{name} K={sizes[0]:,} D={entry.depth}" if sizes else f"{name} D={entry.depth}",
            )
        deepest = max(entry.depth or 1 for entry in own)
        axis.set_xticks(range(1, deepest + 1) if deepest <= 12 else range(0, deepest + 1, max(1, deepest // 8)))
        axis.set_xlabel("depths decoded")
        axis.set_ylabel(metric_label(own, metric))
        axis.legend()
    return figure
