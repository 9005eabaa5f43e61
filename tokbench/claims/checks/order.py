"""What an autoregressive model pays for the order in which it goes through a map (arXiv:2012.09841, supplement)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better
from tokbench.claims.numbers import spread_text, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Entry

FIRST = "raster"
OTHERS = ("alternate", "spiral-in", "spiral-out", "z-curve", "subsample", "random")
NLL = "nll_bits_per_code"
MARGIN = 0.01  # bits per code


def judge(evidence: Evidence) -> list[Finding]:
    """Raster order against each of the others; the random one is nobody's claim."""
    rows = _rows(evidence)
    return [
        better(
            f"held-out NLL is lower in raster order than in {name} order",
            rows.get(FIRST),
            rows.get(name),
            NLL,
            margin=MARGIN,
            informational=name == "random",
        )
        for name in OTHERS
    ]


def panels(evidence: Evidence) -> list[Panel]:
    """A bar for each order."""
    rows = _rows(evidence)
    looks = ["vq" if name == FIRST else "none" for name in rows]
    bars = Series([(name, row.metric(NLL)) for name, row in rows.items()], looks)
    return [Panel("", "held-out NLL (bits per code)", [bars], bars=True, width=max(3.6, 0.7 * len(rows)))]


def table(evidence: Evidence) -> str:
    """A row for each order."""
    columns = {
        "order": lambda row: row[0],
        "held-out NLL (bits/code)": lambda row: spread_text(row[1].metric(NLL), ".3f"),
        "model-coded rate (bpp)": lambda row: spread_text(row[1].metric("model_bpp"), ".4f"),
        "seeds": lambda row: str(len(row[1].records)),
    }
    return table_of(list(_rows(evidence).items()), columns)


def _rows(evidence: Evidence) -> dict[str, Entry]:
    """By order, those that were measured."""
    return dict(evidence.named({name: name for name in (FIRST, *OTHERS)}, "generator"))
