"""What lies beneath a folder: images, images that are not read, and files that name classes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from tokbench.data.annotations import STYLEGAN, TINY_IMAGENET, UCF101
from tokbench.data.base import Split
from tokbench.data.formats import suffix_of
from tokbench.data.media import IMAGES, VIDEOS, Media

JUNK = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"))
"""Folders that systems put beside the user's own; they hold copies and thumbnails. Hidden ones are left out too."""

MOST_LINKS = 8
"""A folder is listed at so many places at most: links to links could make any number of them."""


class File(NamedTuple):
    """One image: relative path, bytes, nanoseconds of its time, (device, inode), and of any change at all."""

    path: str
    size: int
    modified: int
    inode: tuple[int, int] = (0, 0)
    changed: int = 0


@dataclass
class Listing:
    """``problems``: (path, reason) of what is not used. ``again``: folders (``b/``) that were listed as others too.

    ``lists``: the files that say which videos are in a split.
    ``others``: files of the kind that is not looked for, videos among images or images among videos.
    """

    media: Media = IMAGES
    files: list[File] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)
    lists: dict[Split, str] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def sort_out(self, path: str, size: int, modified: int, inode: tuple[int, int] = (0, 0), changed: int = 0) -> None:
        """Put one file where it belongs."""
        suffix = suffix_of(path)
        reason = self.media.passed_over(suffix)
        if reason is not None:
            self.problems.append((path, reason))
        elif path == STYLEGAN or path.rpartition("/")[2] == TINY_IMAGENET:
            self.annotations.append(path)
        elif self.media is VIDEOS and path.rpartition("/")[2] in UCF101:
            self.lists.setdefault(UCF101[path.rpartition("/")[2]], path)
        elif suffix in self.media.suffixes:
            if size:
                self.files.append(File(path, size, modified, inode, changed))
            else:
                self.problems.append((path, "the file is empty"))
        elif suffix in self.media.other.suffixes:
            self.others.append(path)

    def within(self, folders: tuple[str, ...]) -> tuple[list[File], list[tuple[str, str]]]:
        """The files and problems below some folders (``train/``; "" is all), a linked folder's once."""
        twice = {
            place: first
            for place, first in self.again.items()
            if place.startswith(folders) and first.startswith(folders)
        }
        outermost = [place for place in twice if f"{os.path.dirname(place.rstrip('/'))}/" not in twice]
        problems = [(path, why) for path, why in self.problems if path.startswith((*folders, "/"))]
        problems += [(place, f"a link to {twice[place]}, whose images are taken once") for place in outermost]
        doubled = tuple(outermost) or ("\0",)
        return [f for f in self.files if f.path.startswith(folders) and not f.path.startswith(doubled)], problems


def ignored(name: str) -> bool:
    """Whether a file's or folder's name says that it is not the user's."""
    return name.startswith(".") or name in JUNK


def list_folder(root: str, media: Media = IMAGES) -> Listing:
    """Every file beneath, sorted by path. Links are followed, but into no folder that they lie in."""
    found = Listing(media)
    first: dict[str, str] = {}
    places: dict[str, int] = {}
    waiting: list[tuple[str, str, frozenset[str]]] = [(root, "", frozenset())]
    while waiting:
        folder, prefix, above = waiting.pop()
        real = os.path.realpath(folder)
        places[real] = places.get(real, 0) + 1
        if real in above or places[real] > MOST_LINKS:
            continue
        if first.setdefault(real, prefix) != prefix:
            found.again[prefix] = first[real]
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.problems.append((prefix or folder, f"cannot be listed: {error.strerror}"))
            continue
        below = []
        for entry in entries:
            if ignored(entry.name):
                continue
            path = f"{prefix}{entry.name}"
            try:
                if entry.is_dir():
                    below.append((entry.path, f"{path}/", above | {real}))
                elif suffix_of(path):
                    status = entry.stat()
                    inode = status.st_dev, status.st_ino
                    found.sort_out(path, status.st_size, status.st_mtime_ns, inode, status.st_ctime_ns)
            except OSError as error:  # a link that leads nowhere
                if suffix_of(path) in media.suffixes:
                    found.problems.append((path, error.strerror or "cannot be opened"))
        waiting.extend(reversed(below))
    found.files.sort(key=lambda file: file.path)
    return found
