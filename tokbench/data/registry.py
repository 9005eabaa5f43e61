"""Sources of images by name: ``@register({"name:PATH": "what it is"})`` on the function that opens one of its splits.

A source is one file in this folder, found by being there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tokbench.data.base import ImageDataset, Split
from tokbench.data.crops import View
from tokbench.data.media import IMAGES, MAPS, VIDEOS, Media
from tokbench.registry import Registry

Opener = Callable[[str, str, Split, View, "int | None"], ImageDataset]
AnyOpener = TypeVar("AnyOpener", bound=Callable[..., Any])


@dataclass(frozen=True)
class Source:
    """``patterns``: spec strings, in which words in capitals stand for what the user writes, and a line on each;
    ``media``: what it can give; ``open``: called with the spec, the part after its first colon, split, view and limit.
    """

    name: str
    patterns: dict[str, str]
    media: tuple[Media, ...]
    open: Opener

    def takes(self, spec: str) -> bool:
        """Whether ``spec`` is one of the patterns: word for word, or with something in the place of the capitals."""
        return spec in self.patterns or (bool(spec.partition(":")[2]) and any(p != p.lower() for p in self.patterns))


SOURCES: Registry[Source] = Registry("data source", "tokbench.data")


def register(
    patterns: dict[str, str], media: tuple[Media, ...] = (IMAGES, VIDEOS, MAPS)
) -> Callable[[AnyOpener], AnyOpener]:
    """Decorator of an opener; the word before the colon of the patterns is the name."""
    name = next(iter(patterns)).partition(":")[0]

    def decorate(opener: AnyOpener) -> AnyOpener:
        SOURCES.add(name, Source(name, patterns, media, opener))
        return opener

    return decorate
