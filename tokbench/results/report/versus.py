"""Which images the page can lay over each other: those that different models made of the same originals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokbench.results.entries import Context, Entry
from tokbench.results.report.images import Shown, detail
from tokbench.results.sheets import GAP, Sheet, extent
from tokbench.results.table import context_title


def versus(images: Sequence[Shown]) -> list[dict[str, Any]]:
    """For each set of originals ``{"title", "tile": [width, height], "columns", "count", "gap", "choices"}``.

    A choice is ``{"label", "detail", "row", "sheet", "part"}``: a whole sheet of the row's article, or with ``part`` a
    column of its sheet of depths, whose tiles stand at the bottom under headings. The originals are the first choice.
    """
    groups: dict[int, list[int]] = {}
    for number, each in enumerate(images):
        if each.originals is not None and each.reconstructions is not None:
            groups.setdefault(number if each.same is None else each.same, []).append(number)
    made = []
    for first, numbers in groups.items():
        entries = [images[number].entry for number in numbers]
        sheet = _sheet(images[first])
        if sheet is None:
            continue
        choices = [_choice("original", "", numbers[0], "originals")]
        twice = Counter(entry.label for entry in entries)
        for number, entry in zip(numbers, entries, strict=True):
            label, record = entry.label, entry.first
            label += f" · {record.name} {record.id[:6]}" if twice[label] > 1 else ""
            choices += _choices(number, images[number], label, sheet)
        title = context_title(Context.of(entries[0].first), entries)
        tile = [sheet.width, sheet.height]
        shape = {"tile": tile, "columns": sheet.columns, "count": sheet.tiles, "gap": GAP}
        made.append({"title": title, **shape, "choices": choices})
    return made


def _sheet(shown: Shown) -> Sheet | None:
    data, pixels = shown.entry.first.data, shown.pixels.get("originals")
    return None if data is None or pixels is None else Sheet.of(data.size, data.n, pixels)


def _choices(number: int, shown: Shown, label: str, sheet: Sheet) -> list[dict[str, Any]]:
    """A row's reconstructions, where they are laid out as the originals, after those of its first codes."""
    choices, entry = [], shown.entry
    width, height = shown.pixels.get("depths", (0, 0))
    if width == extent(entry.steps + 1, sheet.width) and height > extent(sheet.tiles, sheet.height):
        for part in range(1, entry.steps):
            name = f"{label}, first {part} of {entry.steps}"
            choices.append(_choice(name, detail(Entry(entry.records, part)), number, "depths", part))
    if shown.pixels.get("reconstructions") == shown.pixels.get("originals"):
        choices.append(_choice(label, shown.detail, number, "reconstructions"))
    return choices


def _choice(label: str, about: str, row: int, sheet: str, part: int | None = None) -> dict[str, Any]:
    return {"label": label, "detail": about, "row": row, "sheet": sheet, "part": part}
