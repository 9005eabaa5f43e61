"""Reconstructions of a claim's tokenizers in one picture, from the grids that its cells left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tokbench.pictures import save_picture
from tokbench.results.record import Record

_WIDTH, _GAP, _LINE = 420, 8, 20


@dataclass(frozen=True)
class Shown:
    """A picture among a record's artifacts, and what stands over it."""

    label: str
    record: Record | None
    artifact: str = "reconstructions"


def side_by_side(shown: Sequence[Shown], work: Path, path: Path) -> Path | None:
    """Write the pictures beside each other, the originals first; None, and nothing written, where one is not there.

    Args:
        work: the folder that the records' artifacts are relative to.
    """
    found: list[tuple[str, Image.Image]] = []
    first = next((one.record for one in shown if one.record is not None), None)
    whole = [Shown("originals", first, "originals"), *shown] if _grids(shown) else list(shown)
    for one in whole:
        file = work / (one.record.artifacts.get(one.artifact, "") if one.record is not None else "")
        # A record from elsewhere may name any file.
        if not file.is_file() or not file.resolve().is_relative_to(work.resolve()):
            return None
        with Image.open(file) as opened:
            found.append((one.label, opened.convert("RGB")))
    if not found:
        return None
    scaled = [(label, _narrow(picture)) for label, picture in found] if _grids(shown) else found
    width = sum(picture.width for _, picture in scaled) + _GAP * (len(scaled) - 1)
    height = max(picture.height for _, picture in scaled) + _LINE
    canvas, x, font = Image.new("RGB", (width, height), (255, 255, 255)), 0, ImageFont.load_default(size=14)
    for label, picture in scaled:
        ImageDraw.Draw(canvas).text((x + 2, 1), label, (40, 40, 40), font)
        canvas.paste(picture, (x, _LINE))
        x += picture.width + _GAP
    return save_picture(canvas, path)


def _grids(shown: Sequence[Shown]) -> bool:
    """Whether these are grids of reconstructions, which mean little without the originals."""
    return any(one.artifact == "reconstructions" for one in shown)


def _narrow(picture: Image.Image) -> Image.Image:
    scale = min(1.0, _WIDTH / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
