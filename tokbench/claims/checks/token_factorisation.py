"""One classifier of 2^18 ways against sub-tokens of 2^9 and 2^6 (MAGVIT-v2, arXiv:2310.05737, section 3.1)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, Verdict, better, judged
from tokbench.claims.numbers import SeedValues, against, by_seed, spread_text, step_seconds, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Entry, Spread

PARTS = {"one": "1 x 2^18", "two": "2 x 2^9", "three": "3 x 2^6"}
GENERATION = ("gfid", "gfid_192")
MARGIN = 0.05  # bits per position


def judge(evidence: Evidence) -> list[Finding]:
    """NLL, speed and size of one head against two and three; two against three for information."""
    rows = {part: evidence.row(part, "generator") for part in PARTS}
    nll = {part: position_bits(row) for part, row in rows.items()}
    step = {part: step_seconds(row) for part, row in rows.items()}

    def costs_less(statement: str, part: str, than: str, **more: bool) -> Finding:
        detail = against(nll[part], nll[than])
        return judged(statement, nll[than] - nll[part], margin=MARGIN, unit="bits per position", detail=detail, **more)

    findings = []
    for part in ("two", "three"):
        pair = f"in {PARTS[part]} than in {PARTS['one']}"
        findings.append(costs_less(f"NLL of a position is lower {pair}, after equal steps", part, "one"))
        ratio, detail = step["one"] / step[part] - 1, against(step[part], step["one"], "s")
        findings.append(judged(f"a train step is faster {pair}", ratio, unit="(ratio - 1)", detail=detail))
        findings.append(smaller(f"{PARTS[part]} needs fewer parameters than {PARTS['one']}", rows[part], rows["one"]))
    statement = f"NLL of a position is no higher in {PARTS['three']} than in {PARTS['two']}"
    findings.append(costs_less(statement, "three", "two", equal_or_better=True, informational=True))
    for metric in evidence.measured(*GENERATION):
        statement = f"{evidence.label(metric)} of samples is lower in {PARTS['two']} than in {PARTS['one']}"
        findings.append(better(statement, rows["two"], rows["one"], metric, informational=True))
    return findings


def smaller(statement: str, row: Entry | None, than: Entry | None) -> Finding:
    """That a model has fewer parameters than another: counted, and the same for every seed."""
    own, other = parameters(row), parameters(than)
    if own is None or other is None:
        return Finding(statement, Verdict.missing, informational=True)
    verdict = Verdict.holds if own < other else Verdict.fails
    detail = f"{own:,} against {other:,}"
    return Finding(statement, verdict, other / own - 1, unit="(ratio - 1)", detail=detail, informational=True)


def position_bits(entry: Entry | None) -> SeedValues:
    """Bits per position of every seed: bits per code times the codes that a position is modelled as."""
    codes = len(entry.first.model.get("vocabulary") or [0]) if entry is not None else 0
    return by_seed(entry, "nll_bits_per_code") * codes


def panels(evidence: Evidence) -> list[Panel]:
    """NLL, parameters and speed, a bar for each way to split the code."""
    rows = _rows(evidence)
    bits = [(name, position_bits(row).spread) for name, row in rows]
    size = [(name, Spread((parameters(row) or 0) / 1e6, None)) for name, row in rows]
    step = [(name, step_seconds(row).spread) for name, row in rows]
    x, fixed = "sub-tokens of a code", (18.0, "fixed length, 18 bits")
    return [
        Panel(x, "NLL (bits per position)", [Series(bits, "lfq")], bars=True, rule=fixed, width=2.8),
        Panel(x, "parameters (millions)", [Series(size, "lfq")], bars=True, log=10, width=2.8),
        Panel(x, "train step (s)", [Series(step, "lfq")], bars=True, log=10, width=2.8),
    ]


def table(evidence: Evidence) -> str:
    """A row for each way to split the code."""
    columns = {
        "sub-tokens": lambda row: row[0],
        "NLL (bits per position)": lambda row: spread_text(position_bits(row[1]).spread),
        "NLL (bits per sub-token)": lambda row: spread_text(by_seed(row[1], "nll_bits_per_code").spread),
        "parameters": lambda row: f"{parameters(row[1]):,}",
        "train step (s)": lambda row: spread_text(step_seconds(row[1]).spread),
        "steps": lambda row: f"{row[1].first.training.get('steps', 0):,}",
        **evidence.by_metric(evidence.measured(*GENERATION)),
        "seeds": lambda row: str(len(row[1].records)),
    }
    return table_of(_rows(evidence), columns)


def _rows(evidence: Evidence) -> list[Named]:
    return evidence.named(PARTS, "generator")


def parameters(entry: Entry | None) -> int | None:
    """Of the model; None without a record."""
    return None if entry is None else entry.first.model.get("parameters")
