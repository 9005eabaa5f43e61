"""Where an encoder of videos halves the frames (MAGVIT-v2, arXiv:2310.05737, table 5c)."""

from __future__ import annotations

from tokbench.claims import clips
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding
from tokbench.claims.panels import Panel
from tokbench.claims.pictures import Shown

NAMES = {"early": "halved early", "late": "halved late"}


def judge(evidence: Evidence) -> list[Finding]:
    """Every metric of clips; for information flicker and the first frames."""
    late, early = evidence.row("late"), evidence.row("early")
    return [
        *clips.of_clips(evidence, "{metric} of clips is better where frames are halved late", late, early),
        clips.of_first_frames("PSNR of first frames is better where frames are halved late", late, early),
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
