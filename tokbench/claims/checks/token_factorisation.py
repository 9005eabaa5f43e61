"""One classifier of 2^18 ways against sub-tokens of 2^9 and 2^6 (MAGVIT-v2, arXiv:2310.05737, section 3.1)."""

from __future__ import annotations

from tokbench.claims import heads
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better
from tokbench.claims.heads import cheaper, fewer_bits, smaller
from tokbench.claims.panels import Panel

PARTS = {"one": "1 x 2^18", "two": "2 x 2^9", "three": "3 x 2^6"}
GENERATION = ("gfid", "gfid_192")


def judge(evidence: Evidence) -> list[Finding]:
    """NLL, speed and size of one head against two and three; two against three for information."""
    rows = {part: evidence.row(part, "generator") for part in PARTS}
    findings = []
    for part in ("two", "three"):
        findings += cheaper(f"in {PARTS[part]} than in {PARTS['one']}", rows[part], rows["one"])
        findings.append(smaller(f"{PARTS[part]} needs fewer parameters than {PARTS['one']}", rows[part], rows["one"]))
    statement = f"NLL of a position is no higher in {PARTS['three']} than in {PARTS['two']}"
    findings.append(fewer_bits(statement, rows["three"], rows["two"], equal_or_better=True, informational=True))
    for metric in evidence.measured(*GENERATION):
        statement = f"{evidence.label(metric)} of samples is lower in {PARTS['two']} than in {PARTS['one']}"
        findings.append(better(statement, rows["two"], rows["one"], metric, informational=True))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """NLL, parameters and speed, a bar for each way to split the code."""
    return heads.panels(evidence.named(PARTS, "generator"), "sub-tokens of a code", 18, 2.8)


def table(evidence: Evidence) -> str:
    """A row for each way to split the code."""
    return heads.table(evidence, evidence.named(PARTS, "generator"), "sub-tokens", "sub-token", GENERATION)
