"""What an autoregressive model pays for the order in which it goes through a map (arXiv:2012.09841, supplement)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, better
from tokbench.claims.numbers import named_table, usual
from tokbench.claims.panels import Panel, Series

FIRST = "raster"
OTHERS = ("alternate", "spiral-in", "spiral-out", "z-curve", "subsample", "random")
NLL = "nll_bits_per_code"
MARGIN = 0.01  # bits per code


def judge(evidence: Evidence) -> list[Finding]:
    """Raster order against each of the others; the random one is nobody's claim."""
    rows, lower = dict(_rows(evidence)), "held-out NLL is lower in raster order than in"
    return [
        better(
            f"{lower} {name} order", rows.get(FIRST), rows.get(name), NLL, margin=MARGIN, informational=informational
        )
        for name, informational in {name: name == "random" for name in OTHERS}.items()
    ]


def panels(evidence: Evidence) -> list[Panel]:
    """A bar for each order."""
    rows = _rows(evidence)
    bars = Series(
        [(name, row.metric(NLL)) for name, row in rows], ["vq" if name == FIRST else "none" for name, _ in rows]
    )
    return [Panel("", "held-out NLL (bits per code)", [bars], bars=True, width=max(3.6, 0.7 * len(rows)))]


def table(evidence: Evidence) -> str:
    """A row for each order."""
    return named_table("order", _rows(evidence), usual("held-out NLL (bits/code)", "model-coded rate (bpp)"))


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named({name: name for name in (FIRST, *OTHERS)}, "generator")
