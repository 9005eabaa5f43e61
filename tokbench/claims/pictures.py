"""Reconstructions of a claim's tokenizers in one picture, from the grids that its cells left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tokbench.pictures import save_picture
from tokbench.results.record import Record

_WIDTH, _GAP, _LINE = 420, 8, 20
_STRIP = 1280  # width of rows of clips, which stand one under another


@dataclass(frozen=True)
class Shown:
    """A picture among a record's artifacts, and what stands over it."""

    label: str
    record: Record | None
    artifact: str = "reconstructions"


def side_by_side(shown: Sequence[Shown], work: Path, path: Path) -> Path | None:
    """Write the pictures beside each other, rows of clips one under another, the originals first; None, and nothing
    written, where one is not there.

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
    strips = all(picture.width > 4 * picture.height for _, picture in found)
    widest = _STRIP if strips else _WIDTH
    scaled = [(label, _narrow(picture, widest)) for label, picture in found] if _grids(shown) else found
    return save_picture(_sheet(scaled, strips), path)


def _sheet(pictures: Sequence[tuple[str, Image.Image]], under: bool) -> Image.Image:
    """Pictures with a line of text above each: from left to right, or one ``under`` another."""
    places, x, y = [], 0, 0
    for _, picture in pictures:
        places.append((x, y))
        x, y = (x, y + _LINE + picture.height + _GAP) if under else (x + picture.width + _GAP, y)
    widths = [left + picture.width for (left, _), (_, picture) in zip(places, pictures, strict=True)]
    heights = [top + _LINE + picture.height for (_, top), (_, picture) in zip(places, pictures, strict=True)]
    canvas = Image.new("RGB", (max(widths), max(heights)), (255, 255, 255))
    font, pen = ImageFont.load_default(size=14), ImageDraw.Draw(canvas)
    for (left, top), (label, picture) in zip(places, pictures, strict=True):
        pen.text((left + 2, top + 1), label, (40, 40, 40), font)
        canvas.paste(picture, (left, top + _LINE))
    return canvas


def _grids(shown: Sequence[Shown]) -> bool:
    """Whether these are grids of reconstructions, which mean little without the originals."""
    return any(one.artifact == "reconstructions" for one in shown)


def _narrow(picture: Image.Image, widest: int) -> Image.Image:
    scale = min(1.0, widest / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
