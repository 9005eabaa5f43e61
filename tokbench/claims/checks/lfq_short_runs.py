"""LFQ beside VQ in short runs: what its entropy penalty costs, and what one bit a channel costs."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, judged, rising
from tokbench.claims.numbers import by_seed
from tokbench.claims.panels import Line, Panel, metric_panels

LFQ = {"none": "LFQ, no penalty", "usual": "LFQ, as it comes", "soft": "LFQ, smooth penalty"}
PARTS = {"vq": "VQ", **LFQ, "bsq": "BSQ", "three": "FSQ, 3 levels", "four": "FSQ, 4 levels", "six": "FSQ, 5 to 8"}
PARTS |= {"sixteen": "FSQ, 16 levels"}
SHOWN = ("psnr", "usage", "perplexity")
GAP, USED = 1.0, 0.9  # dB below VQ, and usage: what a short run of LFQ is asked for


def judge(evidence: Evidence) -> list[Finding]:
    """Whether settings close the gap, what each of them does, and whether levels explain what is left."""
    vq, none, usual, soft, bsq = (evidence.row(part) for part in ("vq", "none", "usual", "soft", "bsq"))
    near = {"margin": GAP, "equal_or_better": True}
    used = by_seed(soft, "usage")
    levels = [row for part in ("none", "three", "four", "six") if (row := evidence.row(part)) is not None]
    return [
        better(f"PSNR of LFQ with a smooth penalty is within {GAP:g} dB of VQ's", soft, vq, "psnr", **near),
        judged(f"and its usage is above {USED:g}", used - USED, unit="usage"),
        better("PSNR is lower with the penalty as it comes than with none", none, usual, "psnr"),
        better("a smooth penalty costs no PSNR", soft, none, "psnr", equal_or_better=True),
        better("and more of the codes are used with it than with none", soft, none, "usage"),
        rising("at about 256 codes PSNR rises with the levels a channel has: 2, 3, 4, 5 to 8", levels, "psnr"),
        better("PSNR of BSQ is higher than of LFQ as it comes", bsq, usual, "psnr", informational=True),
    ]


def panels(evidence: Evidence) -> list[Panel]:
    """PSNR, usage and perplexity: a bar for each model."""
    return metric_panels([Line("", "lfq", evidence.named(PARTS))], evidence.measured(*SHOWN), bars=True, width=4.2)


def table(evidence: Evidence) -> str:
    """All of them."""
    return evidence.table(["K", "bits", "psnr", "ssim", "usage", "perplexity", "train_time", "seeds"], parts=PARTS)
