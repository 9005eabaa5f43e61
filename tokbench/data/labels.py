"""Labels as they are stored (numbers, names, -1) -> class numbers and the classes' names."""

from __future__ import annotations

from collections.abc import Iterable

MOST_CLASSES = 100_000
"""Labels beyond are no classes but somebody's ids: nothing can be learned about each of them."""


def in_order(names: Iterable[str]) -> list[str]:
    """Class names sorted: by number where all are numbers (2 before 10), else as text."""
    found = list(names)
    if all(name.isascii() and name.isdecimal() for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)
