"""Labels as they are stored (numbers, names, nothing) -> class numbers and the classes' names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_CLASSES = 100_000
"""Numbers beyond are not classes but somebody's ids: nothing could be learned about each of them."""


@dataclass(frozen=True)
class Numbering:
    """``classes``: their names, by number. ``by_name``: of labels that are text. ``note``: why there are none."""

    classes: list[str] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    note: str = ""

    def __call__(self, value: object) -> int:
        """A stored label's class; -1 for None, NaN, numbers below 0, the empty text and where nothing is a class."""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            return self.by_name.get(value.strip(), -1)
        if self.note or not isinstance(value, (int, float)) or math.isnan(value):
            return -1
        return max(int(value), -1)


def numbering(values: Iterable[object], what: str, names: list[str] | None = None) -> Numbering:
    """How labels are numbered, from all that occur in any split (repeats do not matter).

    Numbers are their own classes, 0 to the largest that occurs, named by themselves unless ``names`` are given;
    those below 0 are none (-1 is what test sets have). Texts are numbered in the order of :func:`in_order`.

    Args:
        what: ``column 'label'``, for the note where the values are not classes.
    """
    if names:
        return Numbering(names)
    found = {value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values}
    found = {value for value in found if value is not None and not (isinstance(value, float) and math.isnan(value))}
    if all(isinstance(value, bool) for value in found) and found:
        return Numbering(["False", "True"])
    if found and all(isinstance(value, str) for value in found):
        classes = in_order({str(value).strip() for value in found} - {""})
        if len(classes) > MOST_CLASSES:
            return Numbering(note=f"{what} holds {len(classes):,} different texts, which are not taken for classes")
        return Numbering(classes, {name: k for k, name in enumerate(classes)})
    numbers = [int(value) for value in found if isinstance(value, (int, float)) and value == value // 1]
    if len(numbers) < len(found):
        return Numbering(note=f"{what} holds values that are neither whole numbers nor names: not taken for classes")
    largest = max(numbers, default=-1)
    if largest >= MOST_CLASSES:
        return Numbering(note=f"{what} holds numbers up to {largest}, which are not taken for classes")
    return Numbering([str(k) for k in range(largest + 1)])


def in_order(names: Iterable[str]) -> list[str]:
    """Class names sorted: by number where all are numbers (2 before 10), else as text."""
    found = list(names)
    if all(name.isascii() and name.isdecimal() and len(name) < 20 for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)
