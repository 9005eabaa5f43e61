"""One classifier against two sub-tokens and against heads that say bits (BAR, arXiv:2602.09024), at equal bits."""

from __future__ import annotations

from tokbench.claims.checks.token_factorisation import MARGIN, parameters, position_bits, smaller, step_seconds
from tokbench.claims.evidence import Evidence, Named, whole_bits
from tokbench.claims.findings import Finding, judged
from tokbench.claims.numbers import against, by_seed, spread_text, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Spread

PARTS = {"softmax": "a softmax", "factorised": "two sub-tokens", "bits": "bits in order", "masked": "masked bits"}


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
    bits = [(name, position_bits(row).spread) for name, row in rows]
    size = [(name, Spread((parameters(row) or 0) / 1e6, None)) for name, row in rows]
    step = [(name, step_seconds(row).spread) for name, row in rows]
    whole = max((whole_bits(row) for _, row in rows), default=0)
    x, fixed = "a code is said by", (float(whole), f"fixed length, {whole} bits")
    return [
        Panel(x, "NLL (bits per position)", [Series(bits, "lfq")], bars=True, rule=fixed, width=3.4),
        Panel(x, "parameters (millions)", [Series(size, "lfq")], bars=True, log=10, width=3.4),
        Panel(x, "train step (s)", [Series(step, "lfq")], bars=True, log=10, width=3.4),
    ]


def table(evidence: Evidence) -> str:
    """A row for each head."""
    columns = {
        "a code is said by": lambda row: row[0],
        "NLL (bits per position)": lambda row: spread_text(position_bits(row[1]).spread),
        "NLL (bits per code)": lambda row: spread_text(by_seed(row[1], "nll_bits_per_code").spread),
        "parameters": lambda row: f"{parameters(row[1]):,}",
        "train step (s)": lambda row: spread_text(step_seconds(row[1]).spread),
        "steps": lambda row: f"{row[1].first.training.get('steps', 0):,}",
        "seeds": lambda row: str(len(row[1].records)),
    }
    return table_of(_rows(evidence), columns)


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named(PARTS, "generator")
