"""The clips everyone has: three short videos in the package that may be passed on. No network.

Whole videos are held out. A training sample is a random window of one of the others, which take turns; an epoch has as
many as one of ``photos``. Held out are the windows that lie one behind another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokbench.data.base import Split, digest
from tokbench.data.clip_view import ClipView
from tokbench.data.crops import View
from tokbench.data.photos import EPOCH
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError

FOLDER = Path(__file__).parent / "builtin_clips"


@dataclass(frozen=True)
class BuiltinClip:
    """A file of the package with the sha256 of its bytes; where it comes from stands in ``LICENCES.md`` beside it."""

    name: str
    sha256: str
    split: Split

    def content(self) -> bytes:
        """Its bytes. Raises TokbenchError where it is not there or another file."""
        file = FOLDER / self.name
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != self.sha256:
            what = "is not the file that tokbench ships" if content else "is missing"
            raise TokbenchError(f"the built-in clip {self.name!r} is not there: {file} {what}; reinstall the package")
        return content


CLIPS = (
    BuiltinClip("big_buck_bunny.mp4", "e074d5688e37d4366d6412b25d630913cf3627cd6fc14036e143cb557bbb8fe7", "train"),
    BuiltinClip("webb_mirror.mp4", "511ef4e701e24a5546ffa14b2f479d667ae8b334c55719b00950023b7eebef53", "train"),
    BuiltinClip("cockatoo.mp4", "8854169ef81f5b6c969cc19182f44f338a72b4e78a1939ed33a870e6e2adace7", "eval"),
)
"""Trained on: an animated film, a slow scene with cuts. Held out: an animal before a moving camera."""


class BuiltinClips(WholePictures):
    """The videos of one split, held in memory: they take 860 kB together."""

    def __init__(self, split: Split, view: View, limit: int | None) -> None:
        super().__init__("clips", split, view)
        self.videos = [clip for clip in CLIPS if clip.split == split]
        self.contents = [clip.content() for clip in self.videos]
        endless = split == "train" and isinstance(view, ClipView) and view.windows == "random"
        self.select(range(len(self.videos)), None if endless else limit)
        if endless:
            self.kept = np.resize(self.kept, limit or EPOCH)

    def name(self, position: int) -> str:
        return self.videos[position].name

    def label(self, position: int) -> int:
        return -1

    def encoded(self, position: int) -> bytes:
        return self.contents[position]

    @property
    def content(self) -> str:
        """The files' own hashes."""
        return digest("clips", *(clip.sha256 for clip in self.videos))

    @property
    def store(self) -> str:
        return self.content
