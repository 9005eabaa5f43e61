"""Every quantizer at the same bits an image, each against plain VQ."""

from __future__ import annotations

import math

from tokbench.claims.evidence import Evidence, variant
from tokbench.claims.findings import Finding, Verdict, best_of, better, weakest
from tokbench.claims.panels import Line, Panel, metric_panels
from tokbench.results.entries import Entry

METRICS = ("psnr", "rfid", "rfid_192")
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192", "usage")


def judge(evidence: Evidence) -> list[Finding]:
    """For each quantizer: whether it is better than plain VQ at every rate that was asked of both."""
    lines = _lines(evidence)
    plain = lines.pop("vq", {})
    if not plain or not lines:
        return [Finding("successors reconstruct better than plain VQ at every rate", Verdict.missing)]
    findings = []
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        for name, own in lines.items():
            # Where all that was asked for is there, a rate without an entry was not asked of this quantizer.
            # Of several ways to spend the same bits (RQ's) the better counts.
            rates = [rate for rate in sorted(plain) if rate in own or not evidence.complete]
            steps = [better("", best_of(own.get(r, []), metric), best_of(plain[r], metric), metric) for r in rates]
            where = ", ".join(map(str, rates))
            statement = f"{name}: {evidence.label(metric)} is better than plain VQ's at {where} bits per position"
            findings.append(weakest(statement, steps))
    return findings


def _lines(evidence: Evidence) -> dict[str, dict[int, list[Entry]]]:
    """Entries by quantizer and by whole bits per position of the map: a pyramid's codes are more than its positions."""
    rows = [entry for entry in evidence.rows() if entry.first.rate is not None]
    positions = {math.prod(e.first.rate.tokens[:-1]) for e in rows if e.first.rate and variant(e) == "vq"}
    found: dict[str, dict[int, list[Entry]]] = {}
    for entry in rows if positions else ():
        rate = round((entry.bits() or 0.0) / min(positions))
        found.setdefault(variant(entry), {}).setdefault(rate, []).append(entry)
    return found


def panels(evidence: Evidence) -> list[Panel]:
    """Each metric over the bits per position, one line per quantizer."""
    lines = [
        Line(name, name, [(rate, best) for rate in sorted(own) if (best := best_of(own[rate], "psnr")) is not None])
        for name, own in _lines(evidence).items()
    ]
    return metric_panels(lines, evidence.measured(*SHOWN), "bits per position")


def table(evidence: Evidence) -> str:
    """All of them, by rate."""
    columns = ["quantizer", "quantizer.rotation_trick", "K", "D", "codes", "bits", "psnr", "ssim", "lpips"]
    return evidence.table([*columns, "rfid", "rfid_192", "usage", "perplexity", "entropy_bpp", "seeds"])
