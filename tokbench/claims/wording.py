"""How the tables and findings of claims write numbers. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokbench.claims.findings import label_of
from tokbench.results.entries import Entry, Spread


def spread_text(values: Spread | Iterable[float] | None, digits: str = ".4g") -> str:
    """``12.31 ± 0.05``; ``-`` where nothing was measured, and no deviation where there is one seed."""
    spread = values if isinstance(values, Spread) or values is None else Spread.over(values)
    if spread is None:
        return "-"
    return f"{spread.mean:{digits}}" + ("" if spread.deviation is None else f" ± {spread.deviation:.2g}")


def against(a: Mapping[int, float], b: Mapping[int, float], unit: str = "") -> str:
    """The means of two metrics over the seeds that both have: ``1.2 against 3.4 s``; empty where there is none."""
    shared = a.keys() & b.keys()
    if not shared:
        return ""
    means = [sum(of[seed] for seed in shared) / len(shared) for of in (a, b)]
    return f"{means[0]:.4g} against {means[1]:.4g} {unit}".rstrip()


def heading(metric: str, *entries: Entry | None) -> str:
    """``PSNR (dB)``: what stands above a column of the metric."""
    units = [found.unit for entry in entries if entry is not None and (found := entry.measured(metric)) is not None]
    return label_of(metric, *entries) + (f" ({units[0]})" if units and units[0] else "")


def rows_text(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table whose first ``words`` columns are text and whose others are numbers."""
    rule = ["---"] * words + ["--:"] * (len(header) - words)
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *rows])
