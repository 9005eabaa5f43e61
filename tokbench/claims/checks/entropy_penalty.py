"""LFQ without the entropy penalty, with it, in groups of bits, annealed (MAGVIT-v2, arXiv:2310.05737, eq. 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.claims.drawing import Bar, draw_bars
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"without": "none", "exact": "exact, steady", "groups": "groups of 5 bits", "annealed": "annealed"}
SHOWN = ("usage", "perplexity", "psnr", "rfid", "rfid_192")
QUALITY = ("psnr", "rfid", "rfid_192")


def judge(evidence: Evidence) -> list[Finding]:
    """What the penalty does to code use and to quality, and whether groups and annealing change it."""
    without, exact, groups, annealed = (evidence.row(part) for part in PARTS)
    findings = [
        better("usage is higher with the penalty than without", exact, without, "usage"),
        better("perplexity is higher with the penalty than without", exact, without, "perplexity"),
    ]
    for metric in evidence.measured(*QUALITY) or QUALITY[:1]:
        label = label_of(metric, exact, without)
        findings += [
            better(f"{label} is better with the penalty than without", exact, without, metric, beside=True),
            better(
                f"{label} with groups of bits is no worse than with the exact entropy", groups, exact, metric,
                equal_or_better=True,
            ),
            better(f"{label} is better with annealing than with a steady penalty", annealed, exact, metric),
        ]  # fmt: skip
    findings.append(
        better(
            "usage with groups of bits is no worse than with the exact entropy", groups, exact, "usage",
            equal_or_better=True,
        )
    )  # fmt: skip
    findings.append(
        better(
            "usage with annealing is no worse than with a steady penalty", annealed, exact, "usage",
            equal_or_better=True,
        )
    )  # fmt: skip
    return findings


def draw(evidence: Evidence) -> Figure | None:
    """A bar for each form of the penalty."""
    bars = [Bar(label, "lfq", row) for part, label in PARTS.items() if (row := evidence.row(part)) is not None]
    return draw_bars(bars, evidence.measured(*SHOWN))


def table(evidence: Evidence) -> str:
    """The four models with what their penalty was."""
    columns = ["K", "codes", "bits", "psnr", "ssim", "lpips", "rfid", "rfid_192", "usage", "perplexity", "entropy_bpp"]
    return evidence.table([*columns, "seeds"], parts={part: f"LFQ, penalty {label}" for part, label in PARTS.items()})
