"""Every quantizer at the same bits an image, each against plain VQ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tokbench.claims.evidence import Evidence, variant
from tokbench.claims.findings import Finding, Verdict, best_of, better, weakest
from tokbench.claims.panels import Line, Panel, metric_panels
from tokbench.results.entries import Entry

METRICS = ("psnr", "rfid", "rfid_192")
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192", "usage")
TUNED = "tuned"  # the part whose quantizers' open settings were chosen, by PSNR, with as many trials each

Rates = dict[int, list[Entry]]  # entries by whole bits per position


def judge(evidence: Evidence) -> list[Finding]:
    """For each quantizer: whether it is better than plain VQ at every rate that was asked of both; the same of those
    that were tuned, and what tuning gave them."""
    lines = _lines(evidence)
    plain = lines.pop("vq", {})
    if not plain or not lines:
        return [Finding("successors reconstruct better than plain VQ at every rate", Verdict.missing)]
    findings = []
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        for name, own in lines.items():
            # Where all that was asked for is there, a rate without an entry was not asked of this quantizer.
            rates = [rate for rate in sorted(plain) if rate in own or not evidence.complete]
            where = ", ".join(map(str, rates))
            statement = f"{name}: {evidence.label(metric)} is better than plain VQ's at {where} bits per position"
            findings.append(_all_better(statement, own, plain, rates, metric))
    return [*findings, *_of_tuned(evidence, {"vq": plain, **lines})]


def _of_tuned(evidence: Evidence, usual: dict[str, Rates]) -> list[Finding]:
    tuned, (metric, *_) = _tuned(evidence), METRICS
    findings = []
    for name, own in tuned.items():
        where = f"at {', '.join(map(str, sorted(own)))} bits per position"
        if name != "vq":
            statement = f"{name}, tuned: {evidence.label(metric)} is better than tuned VQ's {where}"
            findings.append(_all_better(statement, own, tuned.get("vq", {}), sorted(own), metric))
        statement = f"{name}: tuned, {evidence.label(metric)} is better than with the settings it comes with {where}"
        findings.append(_all_better(statement, own, usual.get(name, {}), sorted(own), metric, informational=True))
    return findings


def _all_better(
    statement: str, own: Rates, other: Rates, rates: Sequence[int], metric: str, *, informational: bool = False
) -> Finding:
    """At each rate. Of several ways to spend the same bits (RQ's) the better counts."""
    steps = [
        better(
            "", best_of(own.get(r, []), metric), best_of(other.get(r, []), metric), metric, informational=informational
        )
        for r in rates
    ]
    return weakest(statement, steps)


def _lines(evidence: Evidence) -> dict[str, Rates]:
    """Entries by quantizer, each with the settings it comes with."""
    return _by_rate(evidence, [entry for part in _usual(evidence) for entry in evidence.rows(part)], variant)


def _tuned(evidence: Evidence) -> dict[str, Rates]:
    """The same of the tuned part, as far as its records say that they were."""
    rows = evidence.rows(TUNED) if TUNED in evidence.asked.parts else []
    rows = [row for row in rows if "tuning" in row.first.training]
    return _by_rate(evidence, rows, lambda row: str(row.first.quantizer.name))


def _by_rate(evidence: Evidence, rows: Sequence[Entry], name: Callable[[Entry], str]) -> dict[str, Rates]:
    """By whole bits per position of the map: a pyramid's codes are more than its positions."""
    every = [row for row in evidence.rows() if row.first.rate is not None]
    positions = {math.prod(e.first.rate.tokens[:-1]) for e in every if e.first.rate and variant(e) == "vq"}
    found: dict[str, Rates] = {}
    for row in rows if positions else ():
        if row.first.rate is not None:
            rate = round((row.bits() or 0.0) / min(positions))
            found.setdefault(name(row), {}).setdefault(rate, []).append(row)
    return found


def panels(evidence: Evidence) -> list[Panel]:
    """Each metric over the bits per position, one line per quantizer, and a hollow one for it tuned."""
    usual, tuned = _lines(evidence), _tuned(evidence)
    lines = [_line(name, name, own) for name, own in usual.items()]
    lines += [_line(f"{name}, tuned", name, own, ":", "none") for name, own in tuned.items()]
    return metric_panels(lines, evidence.measured(*SHOWN), "bits per position")


def _line(label: str, quantizer: str, own: Rates, style: str = "-", marks: str = "full") -> Line:
    points = [(rate, best) for rate in sorted(own) if (best := best_of(own[rate], "psnr")) is not None]
    return Line(label, quantizer, points, style, marks)


def table(evidence: Evidence) -> str:
    """All of them, by rate; then those that were tuned, with what was chosen."""
    columns = ["quantizer", "quantizer.rotation_trick", "K", "D", "codes", "bits", "psnr", "ssim", "lpips"]
    columns += ["rfid", "rfid_192", "usage", "perplexity", "entropy_bpp", "seeds"]
    usual = {record.id: record for part in _usual(evidence) for record in evidence.of_part(part)}
    tuned = [record for own in _tuned(evidence).values() for rows in own.values() for e in rows for record in e.records]
    chosen = ["quantizer", "K", "psnr", "lpips", "usage", "trials", "chosen", "gain", "seeds"]
    return "\n".join(filter(None, [evidence.table(columns, list(usual.values())), evidence.table(chosen, tuned)]))


def _usual(evidence: Evidence) -> list[str]:
    """The parts whose quantizers have the settings they come with."""
    return [part for part in evidence.asked.parts if part != TUNED]
