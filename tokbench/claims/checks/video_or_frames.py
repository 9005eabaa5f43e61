"""A causal 3D tokenizer against an image tokenizer frame by frame (MAGVIT-v2, arXiv:2310.05737, table 5a)."""

from __future__ import annotations

from tokbench.claims import clips
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding
from tokbench.claims.panels import Panel
from tokbench.claims.pictures import Shown

NAMES = {"video": "causal 3D", "frames": "frame by frame"}


def judge(evidence: Evidence) -> list[Finding]:
    """Every metric of clips; for information flicker, and the first frames, which get more of the bits."""
    video, frames = evidence.row("video"), evidence.row("frames")
    return [
        *clips.of_clips(evidence, "{metric} of clips is better with a causal 3D network, at equal bits", video, frames),
        clips.of_first_frames("PSNR of first frames, which have more bits, is better with it", video, frames),
    ]


def shown(evidence: Evidence) -> list[Shown]:
    """Clips through both."""
    return [Shown(name, row.first) for name, row in evidence.named(NAMES)]


def panels(evidence: Evidence) -> list[Panel]:
    """A bar for each."""
    return clips.panels(evidence, NAMES)


def table(evidence: Evidence) -> str:
    """A row for each."""
    return clips.table(evidence, NAMES)
