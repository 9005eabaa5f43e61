"""Every quantizer at the same bits a position, each against plain VQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokbench.claims.drawing import Series, draw_series
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, Verdict, better, label_of, weakest
from tokbench.results.entries import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("psnr", "rfid", "rfid_192")
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192", "usage")


def judge(evidence: Evidence) -> list[Finding]:
    """For each quantizer: whether it is better than plain VQ at every rate that was asked of both."""
    lines = _lines(evidence)
    plain = lines.pop("vq", {})
    rates = sorted(plain)
    if not plain or not lines:
        return [Finding("successors reconstruct better than plain VQ at every rate", Verdict.missing)]
    findings = []
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        for name, own in lines.items():
            # Where all that was asked for is there, a rate without an entry was not asked of this quantizer.
            asked = [rate for rate in rates if rate in own] if evidence.complete else rates
            steps = [better("", _best(own.get(rate, []), metric), _best(plain[rate], metric), metric) for rate in asked]
            label = label_of(metric, *(entry for entries in plain.values() for entry in entries))
            where = ", ".join(f"{rate}" for rate in asked)
            findings.append(weakest(f"{name}: {label} is better than plain VQ's at {where} bits a position", steps))
    return findings


def variant(entry: Entry) -> str:
    """The quantizer's name; ``rotation`` for VQ with the rotation trick."""
    quantizer = entry.first.quantizer
    return "rotation" if quantizer.get("rotation_trick") else str(quantizer.get("name"))


def _lines(evidence: Evidence) -> dict[str, dict[int, list[Entry]]]:
    """Entries by quantizer and by whole bits a position: FSQ's 1000 codes stand with 2^10."""
    found: dict[str, dict[int, list[Entry]]] = {}
    for entry in evidence.rows():
        rate = entry.first.rate
        if rate is not None:
            found.setdefault(variant(entry), {}).setdefault(round(rate.bits_per_position), []).append(entry)
    return found


def _best(entries: Sequence[Entry], metric: str) -> Entry | None:
    """Of several ways to spend the same bits (RQ's), the one with the better mean."""
    measured = [(spread.mean, entry) for entry in entries if (spread := entry.metric(metric)) is not None]
    if not measured:
        return None
    first = measured[0][1].measured(metric)
    pick = min if first is not None and first.direction == "lower" else max
    return pick(measured, key=lambda pair: pair[0])[1]


def draw(evidence: Evidence) -> Figure | None:
    """Each metric over the bits a position, a line a quantizer."""
    metrics = evidence.measured(*SHOWN)
    series = []
    for name, own in _lines(evidence).items():
        points = [(float(rate), best) for rate in sorted(own) if (best := _best(own[rate], "psnr")) is not None]
        series.append(Series(name, name, points))
    return draw_series(series, metrics, "bits a position", log2=False)


def table(evidence: Evidence) -> str:
    """All of them, by rate."""
    columns = ["quantizer", "quantizer.rotation_trick", "K", "D", "codes", "bits", "psnr", "ssim", "lpips"]
    return evidence.table([*columns, "rfid", "rfid_192", "usage", "perplexity", "entropy_bpp", "seeds"])
