"""The use of codes at the coarsest scales of a pyramid, by how its codebook learns (VAR, arXiv:2404.02905)."""

from __future__ import annotations

import math

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, Verdict, better, judged
from tokbench.claims.numbers import by_seed
from tokbench.claims.panels import Panel, Series
from tokbench.errors import counted
from tokbench.results.entries import Entry

NAMES = {"restarts": "moving average, each scale alike", "gradient": "gradient, no restarts"}
COARSE = 3  # scales: 1x1, 2x2 and 3x3
SHARE = 0.1  # of what could show: below it training says that codes collapse


def judge(evidence: Evidence) -> list[Finding]:
    """At each of the coarse scales: that codes are used at all, and that they are used more than without restarts."""
    ours, plain = _scales(evidence.row("restarts")), _scales(evidence.row("gradient"))
    if not ours:
        return [Finding("the coarsest scales use their codes", Verdict.missing)]
    findings = []
    for number, scale in enumerate(ours[:COARSE]):
        used, most = by_seed(scale, "usage"), reachable(scale)
        name = f"scale {number + 1} ({counted(scale.added, 'code')} an image)"
        statement = f"{name}: more than {SHARE:.0%} of the codes are used that as many equally likely ones would show"
        findings.append(judged(statement, used / most - SHARE, unit="of them"))
        beside = plain[number] if number < len(plain) else None
        findings.append(better(f"{name}: perplexity is higher than by gradient alone", scale, beside, "perplexity"))
    return findings


def reachable(scale: Entry) -> float:
    """The fraction of the codebook that as many draws from equally likely codes would show."""
    images = (scale.first.data.n or 0) if scale.first.data is not None else 0
    draws, size = scale.added * images, (scale.codebook_sizes() or [1])[0]
    return -math.expm1(draws * math.log1p(-1 / size)) if size > 1 else 1.0


def _scales(entry: Entry | None) -> list[Entry]:
    """All but the finest, whose use is not told apart from that of the whole row."""
    return [] if entry is None else entry.prefixes()


def panels(evidence: Evidence) -> list[Panel]:
    """Usage, of what could show, and perplexity at each scale."""
    rows = {name: _scales(evidence.row(part)) for part, name in NAMES.items()}
    looks = dict(zip(NAMES.values(), ("rq", "vq"), strict=True))
    return [
        Panel(
            "scale",
            label,
            [Series([(i, e.metric(metric)) for i, e in enumerate(row, 1)], looks[n], n) for n, row in rows.items()],
        )
        for metric, label in (("usage", "usage of the scale"), ("perplexity", "perplexity of the scale"))
    ]


def table(evidence: Evidence) -> str:
    """Every scale of both."""
    columns = ["quantizer", "K", "codes", "bits", "psnr", "ssim", "usage", "perplexity", "seeds"]
    return evidence.table(columns, by_depth=True, parts=NAMES)
