"""A transformer against PixelSNAIL on the same codes (VQ-GAN, arXiv:2012.09841, table 1)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, better, faster, improvement, judged
from tokbench.claims.numbers import HELD_OUT, against, mean_curve, named_table, spread_text, step_seconds, usual
from tokbench.claims.panels import Panel, Series

PARTS = {"transformer": "transformer", "time": "PixelSNAIL, equal time", "steps": "PixelSNAIL, equal steps"}
NLL = "nll_bits_per_code"
MARGIN = 0.01  # bits per code


def judge(evidence: Evidence) -> list[Finding]:
    """Lower after equal steps, lower after equal time; for information where by more, and whose step is faster."""
    transformer, time, steps = (evidence.row(part, "generator") for part in PARTS)
    after = "held-out NLL is lower with a transformer than with a PixelSNAIL of as many parameters, after equal"
    more, less = improvement(steps, transformer, NLL), improvement(time, transformer, NLL)
    return [
        better(f"{after} steps", transformer, steps, NLL, margin=MARGIN),
        better(f"{after} time", transformer, time, NLL, margin=MARGIN),
        judged(
            "it is lower by more after equal steps than after equal time", more - less,
            unit="bits/code", margin=MARGIN, detail=against(more, less, digits="+.3f"), informational=True,
        ),
        faster(
            "a train step of PixelSNAIL is faster", step_seconds(steps), step_seconds(transformer), informational=True
        ),
    ]  # fmt: skip


def panels(evidence: Evidence) -> list[Panel]:
    """What a code costs in the end, and over the steps."""
    rows = _rows(evidence)
    bars = Series(
        [(name, row.metric(NLL)) for name, row in rows], ["vq" if k == 0 else "none" for k in range(len(rows))]
    )
    curves = [
        Series(mean_curve(row, HELD_OUT), "vq" if k == 0 else "none", name, line, marker=False)
        for k, ((name, row), line) in enumerate(zip(rows, ("-", "--", "-"), strict=False))
    ]
    bits = "held-out NLL (bits per code)"
    return [Panel("", bits, [bars], bars=True), Panel("optimizer steps", bits, curves)]


def table(evidence: Evidence) -> str:
    """A row for each."""
    columns = {
        **usual("parameters", "steps"),
        "train step (s)": lambda row: spread_text(step_seconds(row).spread, ".3g"),
        **usual("held-out NLL (bits/code)", "model-coded rate (bpp)"),
    }
    return named_table("generator", _rows(evidence), columns)


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named(PARTS, "generator")
