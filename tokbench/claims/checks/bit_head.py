"""One classifier against two sub-tokens and against heads that say bits (BAR, arXiv:2602.09024), at equal bits."""

from __future__ import annotations

from tokbench.claims import heads
from tokbench.claims.evidence import Evidence, whole_bits
from tokbench.claims.findings import Finding
from tokbench.claims.heads import cheaper, smaller
from tokbench.claims.panels import Panel

PARTS = {"softmax": "a softmax", "factorised": "two sub-tokens", "bits": "bits in order", "masked": "masked bits"}
SAID_BY = "a code is said by"


def judge(evidence: Evidence) -> list[Finding]:
    """NLL, speed and size of bits in order against the classifier; sub-tokens and masked bits for information."""
    rows = {part: evidence.row(part, "generator") for part in PARTS}
    findings = cheaper(f"by {PARTS['bits']} than by {PARTS['softmax']}", rows["bits"], rows["softmax"])
    for part, than in (("bits", "factorised"), ("masked", "softmax"), ("masked", "bits")):
        pair = f"by {PARTS[part]} than by {PARTS[than]}"
        findings += cheaper(pair, rows[part], rows[than], informational=True)
    for part in ("factorised", "bits", "masked"):
        statement = f"{PARTS[part]}: fewer parameters than {PARTS['softmax']}"
        findings.append(smaller(statement, rows[part], rows["softmax"]))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """NLL, parameters and speed, a bar for each head."""
    rows = evidence.named(PARTS, "generator")
    return heads.panels(rows, SAID_BY, max((whole_bits(row) for _, row in rows), default=0), 3.4)


def table(evidence: Evidence) -> str:
    """A row for each head."""
    return heads.table(evidence, evidence.named(PARTS, "generator"), SAID_BY)
