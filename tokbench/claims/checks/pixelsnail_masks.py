"""A transformer against PixelSNAIL, both given the codes of masks (VQ-GAN, arXiv:2012.09841, table 1)."""

from __future__ import annotations

from tokbench.claims.checks import pixelsnail
from tokbench.claims.checks.pixelsnail import judge, panels
from tokbench.claims.conditions import PART
from tokbench.claims.evidence import Evidence, stack
from tokbench.claims.numbers import spread_text, table_of

__all__ = ["judge", "panels", "table"]


def table(evidence: Evidence) -> str:
    """A row for each generator; below, how well the masks' tokenizer tells labels."""
    masks = {
        "what both are given": lambda row: row[0],
        "codes": lambda row: stack(row[1]),
        "pixel accuracy": lambda row: spread_text(row[1].metric("pixel_accuracy"), ".3f"),
        "mean IoU": lambda row: spread_text(row[1].metric("mean_iou"), ".3f"),
    }
    given = evidence.named({PART: "masks"})
    return pixelsnail.table(evidence) + (f"\n{table_of(given, masks)}" if given else "")
