"""Captions as data sets keep them: a text beside the image, a column of a table, a key of a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokbench.data.decode import UnreadableImage

NAMES = ("caption", "captions", "text", "txt", "prompt", "json")
"""Columns, and keys of a JSON file, that hold captions, the likeliest first."""

SUFFIXES = (".txt", ".json")
"""Of files beside an image that hold its caption; img2dataset writes both."""

LARGEST = 2**20  # bytes of such a file


def caption_column(names: Iterable[str]) -> str | None:
    """The column that holds captions, by its usual name; None where there is none."""
    there = {name.lower(): name for name in reversed(list(names))}
    return next((there[usual] for usual in NAMES if usual in there), None)


def caption_in(cell: Any) -> str:
    """The caption in a cell or a JSON value, of several the first; "" where there is none."""
    for _ in range(4):  # {"captions": [{"caption": ...}]}, and no deeper
        if isinstance(cell, dict):
            cell = cell.get(caption_column(cell))
        elif isinstance(cell, list | tuple):
            cell = cell[0] if cell else None
    cell = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell
    return " ".join(cell.removeprefix("\ufeff").split()) if isinstance(cell, str) else ""


def caption_file(content: bytes, name: str, image: str) -> str:
    """The caption in a file of these bytes; more than ``LARGEST`` of them are too many.

    Raises:
        UnreadableImage: of ``image``, where its caption cannot be read.
    """
    try:
        if len(content) > LARGEST:
            raise UnreadableImage(image, f"its caption {name}: is larger than {LARGEST >> 20} MiB")
        text = content.decode("utf-8")
        return caption_in(json.loads(text.removeprefix("\ufeff")) if name.lower().endswith(".json") else text)
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except (ValueError, RecursionError):
        reason = "is not JSON"
    raise UnreadableImage(image, f"its caption {name}: {reason}")
