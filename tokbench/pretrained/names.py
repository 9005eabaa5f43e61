"""Two names for one weight: the official layout's and ours, in both directions from one table."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """How an official checkpoint names an encoder's and a decoder's weights.

    Args:
        prefixes: (official, ours) pairs of module paths. ``{i}`` stands for a level (the same one where it
            stands twice), ``{-i}`` for a level counted from the other end (our decoders run from the lowest resolution
            up), ``{j}`` for any other number.
            The first that matches wins.
        components: (official, ours) pairs of single path components after the prefix.
        level: a pattern whose group is a level's number, to count the levels with.
    """

    prefixes: tuple[tuple[str, str], ...]
    components: tuple[tuple[str, str], ...]
    level: str

    def levels(self, official: Iterable[str]) -> int:
        """How many levels a checkpoint with these names has; 0 when none of them is this layout's."""
        found = [int(match[1]) for name in official if (match := re.match(self.level, name))]
        return max(found) + 1 if found and max(found) < 100 else 0

    def ours(self, official: str, levels: int) -> str | None:
        """Our name of an official weight, None when the layout has no such module."""
        return self._rename(official, levels, 0)

    def split(self, official: Mapping[str, T], levels: int) -> tuple[dict[str, T], set[str]]:
        """What has a name of ours, by it, and the official names of the rest."""
        ours: dict[str, T] = {}
        other = set()
        for name, value in official.items():
            if (renamed := self.ours(name, levels)) is None:
                other.add(name)
            else:
                ours[renamed] = value
        return ours, other

    def official(self, ours: str, levels: int) -> str | None:
        """The official name of our weight, None when the layout has no such module."""
        return self._rename(ours, levels, 1)

    def _rename(self, name: str, levels: int, side: int) -> str | None:
        for pair in self.prefixes:
            if not name.startswith(pair[side].partition("{")[0]):  # most of them, and of every weight
                continue
            match = re.match(_pattern(pair[side]), name)
            if match is None:
                continue
            rest = name[match.end() :].split(".")
            table = {pair[side]: pair[1 - side] for pair in self.components}
            rest = [table.get(part, part) for part in rest]
            numbers = {key: int(value) for key, value in match.groupdict().items()}
            if (flipped := "{-i}" in pair[0] or "{-i}" in pair[1]) and numbers["i"] >= levels:
                return None
            target = pair[1 - side].replace("{-i}", "{i}")
            if flipped:
                numbers["i"] = levels - 1 - numbers["i"]
            return target.format(**numbers) + ".".join(rest)
        return None


@functools.cache
def _pattern(path: str) -> str:
    """A regular expression of a path that ends at a component's boundary."""
    text = re.escape(path.replace("{-i}", "{i}"))
    for letter in set(re.findall(r"\\\{([a-z])\\\}", text)):  # the same number wherever the letter stands
        place = rf"\{{{letter}\}}"
        text = text.replace(place, rf"(?P<{letter}>\d+)", 1).replace(place, f"(?P={letter})")
    return text + r"(?=$|\.)"


def inside(official: str, ours: str, parts: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """``prefixes`` of a module's parts, given (official, ours) names within it."""
    return tuple((f"{official}.{theirs}", f"{ours}.{own}") for theirs, own in parts)
