"""An RQ-Transformer trained on soft targets, on drawn codes, or on both (arXiv:2203.01941, section 3.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.claims.curves import HELD_OUT, TRAIN, gap, mean_curve
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, gains, judged, label_of
from tokbench.claims.wording import against, heading, rows_text, spread_text
from tokbench.results.entries import Entry, Spread
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"hard": "nearest codes", "soft": "soft targets", "stochastic": "drawn codes", "both": "both"}
COLOURS = dict(zip(PARTS, (style(name).colour for name in ("none", "vq", "rq", "lfq")), strict=True))
NLL = "nll_bits_per_code"
GENERATION = ("gfid", "gfid_192")
MARGIN = 0.01  # bits a code
NOTE = (
    "NLL is that of the nearest codes in every row. The gap is that of the last measurement while training, on "
    "held-out pictures and on those of the batch."
)


def judge(evidence: Evidence) -> list[Finding]:
    """The gap between training and held-out pictures, held-out NLL and samples; the paper's pair counts."""
    rows = {part: _row(evidence, part) for part in PARTS}
    hard = rows["hard"]
    findings = []
    for part in ("both", "soft", "stochastic"):
        own, name, beside = rows[part], PARTS[part], part != "both"
        findings.append(
            judged(
                f"{name}: the gap between training and held-out NLL is smaller than with nearest codes",
                gains(gap(hard), gap(own)),
                margin=MARGIN,
                unit="bits a code",
                detail=against(gap(own), gap(hard)),
                beside=beside,
            )
        )
        statement = f"{name}: held-out NLL of the nearest codes is lower than after training on them"
        findings.append(better(statement, own, hard, NLL, margin=MARGIN, beside=beside))
        for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
            statement = f"{name}: {label_of(metric, hard, own)} of samples is lower than with nearest codes"
            findings.append(better(statement, own, hard, metric, beside=beside))
    return findings


def draw(evidence: Evidence) -> Figure | None:
    """NLL over the steps on training and held-out pictures where it was kept, and what came of it."""
    from tokbench.results.figures.base import metric_label, panels

    rows = {part: row for part in PARTS if (row := _row(evidence, part)) is not None}
    if not rows:
        return None
    shown = [NLL, *evidence.measured(*GENERATION)]
    with_curves = any(mean_curve(row, HELD_OUT) for row in rows.values())
    figure, axes = panels(len(shown) + with_curves)
    if with_curves:
        for part, row in rows.items():
            for name, line in ((HELD_OUT, "-"), (TRAIN, ":")):
                points = mean_curve(row, name)
                label = PARTS[part] if name == HELD_OUT else None
                xs, ys = [step for step, _ in points], [spread.mean for _, spread in points]
                axes[0].plot(xs, ys, line, color=COLOURS[part], label=label)
        axes[0].plot([], [], ":", color="#444444", label="on training pictures")
        axes[0].legend()
        axes[0].set_xlabel("optimizer steps")
        axes[0].set_ylabel("NLL of the nearest codes (bits a code)")
    for axis, metric in zip(axes[with_curves:], shown, strict=True):
        there = {part: spread for part, row in rows.items() if (spread := row.metric(metric)) is not None}
        axis.errorbar(
            [PARTS[part] for part in there], [s.mean for s in there.values()],
            [s.deviation or 0.0 for s in there.values()], fmt="none", ecolor="#444444", elinewidth=0.8, capsize=3,
        )  # fmt: skip
        for part, spread in there.items():
            axis.plot([PARTS[part]], [spread.mean], "o", color=COLOURS[part])
        axis.margins(x=0.15)
        axis.tick_params(axis="x", rotation=20)
        axis.set_ylabel(metric_label(list(rows.values()), metric))
    return figure


def table(evidence: Evidence) -> str:
    """A row for each way to train."""
    metrics = evidence.measured(*GENERATION)
    rows = {part: row for part in PARTS if (row := _row(evidence, part)) is not None}
    labels = [heading(metric, *rows.values()) for metric in metrics]
    header = ["trained on", "held-out NLL (bits/code)", "training NLL (bits/code)", "gap (bits/code)", *labels, "seeds"]
    lines = []
    for part, row in rows.items():
        train = mean_curve(row, TRAIN)
        nll = (row.metric(NLL), train[-1][1] if train else None, Spread.over(gap(row).values()))
        cells = [PARTS[part], *(spread_text(of, ".3f") for of in nll)]
        cells += [spread_text(row.metric(metric), ".2f") for metric in metrics]
        lines.append([*cells, str(len(row.records))])
    return f"{rows_text(header, lines)}\n{NOTE}\n"


def _row(evidence: Evidence, part: str) -> Entry | None:
    return evidence.row(part, kind="generator")
