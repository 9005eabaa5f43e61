"""The clips everyone has: three short videos in the package that may be passed on. No network.

Whole videos are held out. Training clips are drawn at random places, times and scales, from copies scaled once; an
epoch has as many as one of ``photos``. Held out are the clips that lie one behind another.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tokbench.config.grid import axes
from tokbench.data.adm import covering_sizes
from tokbench.data.base import ImageDataset, Sample, Split, digest
from tokbench.data.clip_view import ClipView
from tokbench.data.crops import View
from tokbench.data.draws import below, uniforms
from tokbench.data.media import VIDEOS
from tokbench.data.photos import EPOCH
from tokbench.data.registry import register
from tokbench.data.video import Video
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError

FOLDER = Path(__file__).parent / "builtin_clips"

ZOOMS = tuple(2 ** (k / 2) for k in range(7))
"""Size of the scaled video over the clip's, from the whole scene to a detail."""


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


@register({"clips": "short videos that ship with tokbench; needs no network, but PyAV (the extra video)"}, (VIDEOS,))
def open_clips(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset:
    """``clips``. Random crops of random windows come from copies held in memory, all else from the files."""
    assert isinstance(view, ClipView)
    if split == "train" and view.windows == "random" and view.crop == "random":
        return TrainClips(view, EPOCH if limit is None else limit)
    clips, endless = BuiltinClips(split, view), split == "train" and view.windows == "random"
    clips.select(range(len(clips.videos)), None if endless else limit)
    if endless:
        clips.kept = np.resize(clips.kept, limit or EPOCH)  # the videos take turns
    return clips


class BuiltinClips(WholePictures):
    """The videos of one split as of any other source."""

    def __init__(self, split: Split, view: ClipView) -> None:
        super().__init__("clips", split, view)
        self.videos = [clip for clip in CLIPS if clip.split == split]
        self.contents = [clip.content() for clip in self.videos]

    def name(self, position: int) -> str:
        return self.videos[position].name

    def label(self, position: int) -> int:
        return -1

    def encoded(self, position: int) -> bytes:
        return self.contents[position]

    @property
    def content(self) -> str:
        """The files' own hashes."""
        return _content(self.videos)

    @property
    def store(self) -> str:
        return self.content


class TrainClips(ImageDataset):
    """Random crops of random windows at random scales of the training videos, ``length`` to an epoch."""

    view: ClipView

    def __init__(self, view: ClipView, length: int) -> None:
        super().__init__("clips", "train", view)
        self.length, self.videos = length, [clip for clip in CLIPS if clip.split == "train"]
        self.steps = []
        for clip in self.videos:
            with Video(clip.content(), name=clip.name) as video:
                self.steps.append(view.steps(video))

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Video, time, scale and place are each uniform; all follow from (seed, epoch, index)."""
        view, (height, width) = self.view, axes(self.view.image_size)
        which, when, zoom, row, column, flip = uniforms(6, view.seed, epoch, index)
        video = below(len(self.videos), which)
        start = below(len(self.steps[video]) - view.span + 1, when)
        copies = _copies(self.videos[video], (height, width))
        copy = copies[below(len(copies), zoom)]
        top, left = below(copy.shape[1] - height + 1, row), below(copy.shape[2] - width + 1, column)
        shown = self.steps[video][start : start + view.span : view.stride]
        pixels = copy[shown, top : top + height, left : left + width]
        pixels = pixels[:, :, ::-1] if view.flip and flip < 0.5 else pixels
        clip = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)))
        name = f"{self.videos[video].name}@{start}+{min(copy.shape[1:3])}+{top}+{left}"
        return {"image": view.seen(clip), "label": -1, "id": name}

    @property
    def content(self) -> str:
        return digest("in memory", _content(self.videos))


def _content(videos: list[BuiltinClip]) -> str:
    return digest("clips", *(clip.sha256 for clip in videos))


@functools.lru_cache(maxsize=4)
def _copies(clip: BuiltinClip, shape: tuple[int, int]) -> list[np.ndarray]:
    """All frames, uint8 (N, H, W, 3), just covering ``shape`` times each zoom, as far as there are pixels."""
    with Video(clip.content(), name=clip.name) as video:
        images = [Image.fromarray(frame) for frame in video.read(range(len(video)))]
    sizes = covering_sizes(images[0], shape, ZOOMS)
    return [np.stack([np.asarray(i.resize(size, Image.Resampling.BICUBIC)) for i in images]) for size in sizes]
