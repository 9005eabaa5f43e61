"""What each depth of one RQ model is worth, and one codebook against one each (RQ-VAE, arXiv:2203.01941)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, stages_of
from tokbench.claims.findings import Finding, better, gains_more, judged, rising
from tokbench.claims.panels import Line, Panel, metric_panels
from tokbench.claims.pictures import Shown
from tokbench.results.entries import Entry

DISTORTION = ("psnr", "ssim", "lpips")
NAMES = {"shared": "one codebook for all depths", "separate": "one codebook each"}


def judge(evidence: Evidence) -> list[Finding]:
    """Every step in depth, the first half against the second, shared against separate."""
    findings = []
    shared, separate = evidence.row("shared"), evidence.row("separate")
    stages = stages_of(shared)
    for metric in evidence.measured(*DISTORTION) or DISTORTION[:1]:
        label = evidence.label(metric)
        if stages and stages[0].metric(metric) is None and shared is not None and shared.metric(metric) is not None:
            continue  # measured of the whole stack alone
        depth = shared.depth if shared is not None else "D"
        findings.append(rising(f"{label} improves with every depth decoded, 1 to {depth}", stages, metric, margin=0.0))
        findings.append(_first_half(label, stages, metric))
    for metric in evidence.measured(*DISTORTION[:1], "rfid", "rfid_192") or DISTORTION[:1]:
        statement = f"{evidence.label(metric)}: one codebook for all depths is no worse than one each"
        findings.append(better(statement, shared, separate, metric, equal_or_better=True))
    statement = "usage of one codebook for all depths is higher than of one each"
    return [*findings, better(statement, shared, separate, "usage", informational=True)]


def _first_half(label: str, stages: list[Entry], metric: str) -> Finding:
    """That the first half of the further codes gains more than the second."""
    middle = (len(stages) + 1) // 2
    if middle < 2:
        return judged(f"{label} gains more in the first half of the depths than in the second")
    statement = f"{label} gains more from depth 1 to {middle} than from {middle} to {len(stages)}"
    first, half, last = stages[0], stages[middle - 1], stages[-1]
    return gains_more(statement, (first, half), (half, last), metric)


def shown(evidence: Evidence) -> list[Shown]:
    """Every depth of the model with one codebook."""
    shared = evidence.row("shared")
    return [Shown(NAMES["shared"], shared.first, "depths")] if shared is not None else []


def panels(evidence: Evidence) -> list[Panel]:
    """Each metric over the depths decoded."""
    lines = [
        Line(label, "rq", list(enumerate(stages_of(evidence.row(part)), 1)), line)
        for (part, label), line in zip(NAMES.items(), ("-", "--"), strict=True)
    ]
    return metric_panels(lines, evidence.measured(*DISTORTION), "depths decoded")


def table(evidence: Evidence) -> str:
    """Every prefix of both models; below each the whole stack with its code use."""
    columns = ["quantizer", "K", "D", "codes", "bits", *DISTORTION]
    return evidence.table([*columns, "rfid", "rfid_192", "usage", "perplexity", "seeds"], by_depth=True, parts=NAMES)
