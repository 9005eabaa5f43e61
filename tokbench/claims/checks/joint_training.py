"""Training on images and videos against videos alone, on single images and on clips (MAGVIT-v2, arXiv:2310.05737)."""

from __future__ import annotations

from dataclasses import replace

from tokbench.claims import clips
from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, better
from tokbench.claims.numbers import named_table
from tokbench.claims.panels import Line, Panel, metric_panels

NAMES = {"video": "videos alone", "joint": "videos and images"}
ON_IMAGES = {f"{part}-on-images": name for part, name in NAMES.items()}
OF_IMAGES = ("psnr", "ssim", "lpips", "rfid")
_CLIPS = clips.Clips(NAMES)
shown = _CLIPS.shown


def judge(evidence: Evidence) -> list[Finding]:
    """Every metric of single images; for information what it costs the clips."""
    alone, joint = (evidence.row(part) for part in ON_IMAGES)
    measured = [m for m in evidence.measured(*OF_IMAGES) if joint is None or joint.metric(m) is not None]
    images = [
        better(f"{evidence.label(metric)} of single images is better with images in training", joint, alone, metric)
        for metric in measured or OF_IMAGES[:1]
    ]
    alone, joint = (evidence.row(part) for part in NAMES)
    price = clips.of_clips(evidence, "{metric} of clips, the price: it is better with videos alone", alone, joint)
    return [
        *images,
        *(replace(finding, informational=True) for finding in price),
        clips.of_first_frames("PSNR of the clips' first frames is better with images in training", joint, alone),
    ]


def panels(evidence: Evidence) -> list[Panel]:
    """Single images, then clips."""
    rows, measured = _of_images(evidence)
    images = metric_panels([Line("", "vq", rows)], measured, "single images", bars=True, width=2.6)
    return [*images, *(replace(panel, x="clips") for panel in _CLIPS.panels(evidence))]


def table(evidence: Evidence) -> str:
    """Single images, then clips."""
    rows, measured = _of_images(evidence)
    columns = {
        **evidence.by_metric(measured),
        "n": lambda row: str(row.first.data.n if row.first.data is not None else 0),
    }
    return named_table("single images, trained on", rows, columns) + "\n" + _CLIPS.table(evidence)


def _of_images(evidence: Evidence) -> tuple[list[Named], list[str]]:
    """What was measured on single images, and by which metrics."""
    rows = evidence.named(ON_IMAGES)
    return rows, [m for m in evidence.measured(*OF_IMAGES) if any(row.metric(m) is not None for _, row in rows)]
