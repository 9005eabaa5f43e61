"""What each depth of one RQ model is worth, and one codebook against one each (RQ-VAE, arXiv:2203.01941)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.claims.drawing import Series, draw_series
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import (
    MARGINS,
    Finding,
    better,
    by_seed,
    direction,
    gains,
    judged,
    label_of,
    rising,
    unit_of,
)
from tokbench.claims.pictures import Shown
from tokbench.results.entries import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISTORTION = ("psnr", "ssim", "lpips")
NAMES = {"shared": "one codebook for all depths", "separate": "one codebook each"}


def judge(evidence: Evidence) -> list[Finding]:
    """Every step in depth, the first half against the second, shared against separate."""
    findings = []
    shared, separate = evidence.row("shared"), evidence.row("separate")
    stages = _stages(shared)
    for metric in evidence.measured(*DISTORTION) or DISTORTION[:1]:
        label = label_of(metric, shared)
        if stages and stages[0].metric(metric) is None and shared is not None and shared.metric(metric) is not None:
            continue  # measured of the whole stack alone
        depth = shared.depth if shared is not None else "D"
        findings.append(rising(f"{label} improves with every depth decoded, 1 to {depth}", stages, metric, margin=0.0))
        findings.append(_first_half(label, stages, metric))
    for metric in evidence.measured(*DISTORTION[:1], "rfid", "rfid_192") or DISTORTION[:1]:
        statement = f"{label_of(metric, shared)}: one codebook for all depths is no worse than one each"
        findings.append(better(statement, shared, separate, metric, equal_or_better=True))
    statement = "usage of one codebook for all depths is higher than of one each"
    findings.append(better(statement, shared, separate, "usage", beside=True))
    return findings


def _stages(entry: Entry | None) -> list[Entry]:
    return [] if entry is None else [*entry.prefixes(), entry]


def _first_half(label: str, stages: list[Entry], metric: str) -> Finding:
    """That the first half of the further codes gains more than the second."""
    middle = (len(stages) + 1) // 2
    if middle < 2:
        return judged(f"{label} gains more in the first half of the depths than in the second", [])
    first, half, last = (by_seed(stages[d - 1], metric) for d in (1, middle, len(stages)))
    sign = direction(metric, stages[-1])
    seeds = first.keys() & half.keys() & last.keys()
    early = {seed: sign * (half[seed] - first[seed]) for seed in seeds}
    late = {seed: sign * (last[seed] - half[seed]) for seed in seeds}
    means = [sum(of.values()) / len(of) for of in (early, late)] if seeds else []
    return judged(
        f"{label} gains more from depth 1 to {middle} than from {middle} to {len(stages)}",
        gains(early, late),
        margin=MARGINS.get(metric, 0.0),
        unit=unit_of(metric, stages[-1]),
        detail=f"{means[0]:+.3g} against {means[1]:+.3g}" if means else "",
    )


def shown(evidence: Evidence) -> list[Shown]:
    """Every depth of the model with one codebook."""
    shared = evidence.row("shared")
    return [Shown("one codebook for all depths", shared.first, "depths")] if shared is not None else []


def draw(evidence: Evidence) -> Figure | None:
    """Each metric over the depths decoded."""
    lines = []
    for (part, label), line in zip(NAMES.items(), ("-", "--"), strict=True):
        stages = _stages(evidence.row(part))
        lines.append(Series(label, "rq", [(float(d), entry) for d, entry in enumerate(stages, 1)], line))
    return draw_series(lines, evidence.measured(*DISTORTION), "depths decoded", log2=False)


def table(evidence: Evidence) -> str:
    """Every prefix of both models; below each the whole stack with its code use."""
    columns = ["quantizer", "K", "D", "codes", "bits", *DISTORTION]
    return evidence.table([*columns, "rfid", "rfid_192", "usage", "perplexity", "seeds"], by_depth=True, parts=NAMES)
