"""An RQ-Transformer trained on soft targets, on drawn codes, or on both (arXiv:2203.01941, section 3.2.3)."""

from __future__ import annotations

from collections.abc import Iterator

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, judged
from tokbench.claims.numbers import HELD_OUT, TRAIN, against, gap, mean_curve, spread_text, table_of
from tokbench.claims.panels import Line, Panel, Series, metric_panels
from tokbench.results.entries import Entry, Spread

PARTS = {"hard": "nearest codes", "soft": "soft targets", "stochastic": "drawn codes", "both": "both"}
LOOKS = dict(zip(PARTS, ("none", "vq", "rq", "lfq"), strict=True))
NLL = "nll_bits_per_code"
GENERATION = ("gfid", "gfid_192")
MARGIN = 0.01  # bits per code
NOTE = (
    "NLL is that of the nearest codes in every row. The gap is that of the last measurement while training, on "
    "held-out images and on those of the batch."
)


def judge(evidence: Evidence) -> list[Finding]:
    """The gap between training and held-out images, held-out NLL and samples; the paper's pair counts."""
    rows = {part: evidence.row(part, kind="generator") for part in PARTS}
    hard = rows["hard"]
    findings = []
    for part in ("both", "soft", "stochastic"):
        own, name, informational = rows[part], PARTS[part], part != "both"
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
        Series(mean_curve(row, name), LOOKS[part], PARTS[part] if name == HELD_OUT else "", line, marker=False)
        for part, row in rows.items()
        for name, line in ((HELD_OUT, "-"), (TRAIN, ":"))
    ]
    points = [Line("", LOOKS[part], [(PARTS[part], row)], "") for part, row in rows.items()]
    return [
        Panel("optimizer steps (dotted: on training images)", "NLL of the nearest codes (bits per code)", curves),
        *metric_panels(points, [NLL, *evidence.measured(*GENERATION)]),
    ]


def table(evidence: Evidence) -> str:
    """A row for each way to train."""
    columns = {
        "trained on": lambda row: row[0],
        "held-out NLL (bits/code)": lambda row: spread_text(row[1].metric(NLL), ".3f"),
        "training NLL (bits/code)": lambda row: spread_text(next(_training(row[1]), None), ".3f"),
        "gap (bits/code)": lambda row: spread_text(gap(row[1]).spread, ".3f"),
        **evidence.by_metric(evidence.measured(*GENERATION), ".2f"),
        "seeds": lambda row: str(len(row[1].records)),
    }
    rows = [(PARTS[part], row) for part, row in _rows(evidence).items()]
    return f"{table_of(rows, columns)}\n{NOTE}\n"


def _training(entry: Entry) -> Iterator[Spread]:
    """NLL on training images, the last measurement first."""
    return (spread for _, spread in reversed(mean_curve(entry, TRAIN)))


def _rows(evidence: Evidence) -> dict[str, Entry]:
    return {part: row for part in PARTS if (row := evidence.row(part, kind="generator")) is not None}
