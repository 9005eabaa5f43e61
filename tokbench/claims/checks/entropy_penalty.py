"""LFQ without the entropy penalty, with it, in groups of bits, annealed (MAGVIT-v2, arXiv:2310.05737, eq. 5)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better
from tokbench.claims.panels import Line, Panel, metric_panels

PARTS = {"without": "none", "exact": "exact, steady", "groups": "groups of 5 bits", "annealed": "annealed"}
SHOWN = ("usage", "perplexity", "psnr", "rfid", "rfid_192")
QUALITY = ("psnr", "rfid", "rfid_192")


def judge(evidence: Evidence) -> list[Finding]:
    """What the penalty does to code use and to quality, and whether groups and annealing change it."""
    without, exact, groups, annealed = (evidence.row(part) for part in PARTS)
    no_worse = "is no worse than with"
    findings = [
        better(f"{metric} is higher with the penalty than without", exact, without, metric)
        for metric in ("usage", "perplexity")
    ]
    for metric in evidence.measured(*QUALITY) or QUALITY[:1]:
        label = evidence.label(metric)
        whole = f"{label} with groups of bits {no_worse} the exact entropy"
        findings += [
            better(f"{label} is better with the penalty than without", exact, without, metric, informational=True),
            better(whole, groups, exact, metric, equal_or_better=True),
            better(f"{label} is better with annealing than with a steady penalty", annealed, exact, metric),
        ]
    pairs = (("groups of bits", groups, "the exact entropy"), ("annealing", annealed, "a steady penalty"))
    return findings + [
        better(f"usage with {how} {no_worse} {instead}", row, exact, "usage", equal_or_better=True)
        for how, row, instead in pairs
    ]


def panels(evidence: Evidence) -> list[Panel]:
    """A bar for each form of the penalty."""
    return metric_panels([Line("", "lfq", evidence.named(PARTS))], evidence.measured(*SHOWN), bars=True, width=3.0)


def table(evidence: Evidence) -> str:
    """The four models with what their penalty was."""
    columns = ["K", "codes", "bits", "psnr", "ssim", "lpips", "rfid", "rfid_192", "usage", "perplexity", "entropy_bpp"]
    return evidence.table([*columns, "seeds"], parts={part: f"LFQ, penalty {label}" for part, label in PARTS.items()})
