"""The folders that hold images, as a tree, and what their names say: a split, a container, or what is not an image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

EVAL_WORDS = ("val", "validation", "valid", "eval", "evaluation", "dev", "test", "testing")
"""In this order where there are several: a test split is often kept for the end."""

_SPLIT = re.compile(
    rf"(?:(?P<prefix>.*?)[-_. ])?(?P<word>train|training|trainval|{'|'.join(EVAL_WORDS)})"
    r"(?:[-_. ]?(?P<tail>set|images?|imgs?|data|split|hr|\d{1,4}|(?<=[-_. ])[a-f]|dev\d{4}))?"
)
_CONTAINER = re.compile(
    r"(?:images?|imgs?|videos?|clips?|jpe?gs?|jpegimages|pngs?|pictures?|photos?|thumbnails?|data|dataset|files|samples|leftimg8bit)"
    r"[\dx]*(?:[-_ ].*)?"
)
_NOT_PICTURES = re.compile(
    r"(?:.*[-_ ])?(?:annotations?|labels?|masks?|gt|gtfine|gtcoarse|ground[-_ ]?truths?|"
    r"segmentation(?:class|object|s)?)"
)


class SplitName(NamedTuple):
    """``seg_train2`` -> prefix ``seg``, word ``train``, tail ``2``."""

    prefix: str
    word: str
    tail: str

    @property
    def is_train(self) -> bool:
        return self.word.startswith("train")

    @property
    def year(self) -> str:
        """2017 of COCO's train2017; empty where there is none."""
        return self.tail[-4:] if self.tail[-4:].isdecimal() and len(self.tail) >= 4 else ""


def split_name(name: str) -> SplitName | None:
    """What a folder's name says of a split; None where it names none. ``train_station`` is a class."""
    if re.fullmatch(r"(?:train|val|test)[AB]", name):  # the two sides of unpaired translation
        return SplitName("", name[:-1], "")
    match = _SPLIT.fullmatch(name.lower())
    return SplitName(match["prefix"] or "", match["word"], match["tail"] or "") if match else None


def is_container(name: str) -> bool:
    """Whether a name says no more than that there are images: ``images``, ``img_align_celeba``, ``images256x256``."""
    return _CONTAINER.fullmatch(name.lower()) is not None


@dataclass
class Node:
    """A folder: images right in it, and the folders below that hold images at any depth."""

    files: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def pictures_in(self) -> list[str]:
        """The sub-folders, without masks and the like where they lie beside the images that they belong to."""
        names = [name for name in self.children if not _NOT_PICTURES.fullmatch(name.lower())]
        beside = any(is_container(name) or split_name(name) for name in names)
        return names if beside else list(self.children)

    @property
    def lone(self) -> str | None:
        """The only sub-folder with images, where there are no images beside it."""
        names = self.pictures_in()
        return names[0] if len(names) == 1 and not self.files else None


def tree_of(paths: Iterable[str]) -> Node:
    """Images' paths, relative and with ``/``, as the tree of their folders."""
    root = Node()
    known: dict[str, Node] = {"": root}
    for path in paths:
        folder = path.rpartition("/")[0]
        node = known.get(folder)
        if node is None:
            node = root
            for name in folder.split("/"):
                node = node.children.setdefault(name, Node())
            known[folder] = node
        node.files += 1
    return root
