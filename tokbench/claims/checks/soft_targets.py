"""An RQ-Transformer trained on soft targets, on drawn codes, or on both (arXiv:2203.01941, section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, better, judged
from tokbench.claims.numbers import HELD_OUT, TRAIN, against, gap, mean_curve, named_table, spread_text, usual
from tokbench.claims.panels import Line, Panel, Series, metric_panels
from tokbench.results.entries import Spread

PARTS = {"hard": "nearest codes", "soft": "soft targets", "stochastic": "drawn codes", "both": "both"}
LOOKS = dict(zip(PARTS.values(), ("none", "vq", "rq", "lfq"), strict=True))
NLL = "nll_bits_per_code"
GENERATION = ("gfid", "gfid_192")
MARGIN = 0.01  # bits per code
NOTE = (
    "NLL is that of the nearest codes in every row. The gap is that of the last measurement while training, on "
    "held-out images and on those of the batch."
)


def judge(evidence: Evidence) -> list[Finding]:
    """The gap between training and held-out images, held-out NLL and samples; the paper's pair counts."""
    rows = dict(_rows(evidence))
    hard = rows.get(PARTS["hard"])
    findings = []
    for part in ("both", "soft", "stochastic"):
        name, informational = PARTS[part], part != "both"
        own = rows.get(name)
        statement = f"{name}: the gap between training and held-out NLL is smaller than with nearest codes"
        findings.append(
            judged(
                statement, gap(hard) - gap(own), margin=MARGIN, unit="bits per code",
                detail=against(gap(own), gap(hard)), informational=informational,
            )
        )  # fmt: skip
        statement = f"{name}: held-out NLL of the nearest codes is lower than after training on them"
        findings.append(better(statement, own, hard, NLL, margin=MARGIN, informational=informational))
        for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
            statement = f"{name}: {evidence.label(metric)} of samples is lower than with nearest codes"
            findings.append(better(statement, own, hard, metric, informational=informational))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """NLL over the steps on training and held-out images where it was kept, and what came of it."""
    rows = _rows(evidence)
    curves = [
        Series(mean_curve(row, name), LOOKS[label], label if name == HELD_OUT else "", line, marker=False)
        for label, row in rows
        for name, line in ((HELD_OUT, "-"), (TRAIN, ":"))
    ]
    points = [Line("", LOOKS[label], [(label, row)], "") for label, row in rows]
    return [
        Panel("optimizer steps (dotted: on training images)", "NLL of the nearest codes (bits per code)", curves),
        *metric_panels(points, [NLL, *evidence.measured(*GENERATION)]),
    ]


def table(evidence: Evidence) -> str:
    """A row for each way to train."""
    columns = {
        **usual("held-out NLL (bits/code)"),
        "training NLL (bits/code)": lambda row: spread_text(_last(mean_curve(row, TRAIN)), ".3f"),
        "gap (bits/code)": lambda row: spread_text(gap(row).spread, ".3f"),
        **evidence.by_metric(evidence.measured(*GENERATION), ".2f"),
    }
    return f"{named_table('trained on', _rows(evidence), columns)}\n{NOTE}\n"


def _last(curve: Sequence[tuple[int, Spread]]) -> Spread | None:
    return curve[-1][1] if curve else None


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named(PARTS, "generator")
