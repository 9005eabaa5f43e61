"""One classifier against two sub-tokens and against heads that say bits (BAR, arXiv:2602.09024), at equal bits."""

from __future__ import annotations

from tokbench.claims import heads
from tokbench.claims.evidence import Evidence, Named, whole_bits
from tokbench.claims.findings import Finding, judged
from tokbench.claims.heads import MARGIN, position_bits, smaller
from tokbench.claims.numbers import against, step_seconds
from tokbench.claims.panels import Panel

PARTS = {"softmax": "a softmax", "factorised": "two sub-tokens", "bits": "bits in order", "masked": "masked bits"}
SAID_BY = "a code is said by"


def judge(evidence: Evidence) -> list[Finding]:
    """NLL, speed and size of bits in order against the classifier; sub-tokens and masked bits for information."""
    rows = {part: evidence.row(part, "generator") for part in PARTS}
    nll = {part: position_bits(row) for part, row in rows.items()}
    step = {part: step_seconds(row) for part, row in rows.items()}
    findings = []
    for part, than, informational in (
        ("bits", "softmax", False), ("bits", "factorised", True), ("masked", "softmax", True), ("masked", "bits", True)
    ):  # fmt: skip
        pair = f"by {PARTS[part]} than by {PARTS[than]}"
        findings.append(
            judged(
                f"NLL of a position is lower {pair}, after equal steps", nll[than] - nll[part], margin=MARGIN,
                unit="bits per position", detail=against(nll[part], nll[than]), informational=informational,
            )
        )  # fmt: skip
        findings.append(
            judged(
                f"a train step is faster {pair}", step[than] / step[part] - 1, unit="(ratio - 1)",
                detail=against(step[part], step[than], "s"), informational=informational,
            )
        )  # fmt: skip
    for part in ("factorised", "bits", "masked"):
        statement = f"{PARTS[part]}: fewer parameters than {PARTS['softmax']}"
        findings.append(smaller(statement, rows[part], rows["softmax"]))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """NLL, parameters and speed, a bar for each head."""
    rows = _rows(evidence)
    whole = max((whole_bits(row) for _, row in rows), default=0)
    return heads.panels(rows, SAID_BY, whole, 3.4)


def table(evidence: Evidence) -> str:
    """A row for each head."""
    return heads.table(evidence, _rows(evidence), SAID_BY)


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named(PARTS, "generator")
