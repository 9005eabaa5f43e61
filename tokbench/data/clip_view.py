"""What is done to a video before it is a sample: which of its frames make a clip, and how these become square."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tokbench.config.crop import CHANCE
from tokbench.config.grid import Size, axes
from tokbench.data.container import UnreadableVideo, need_pyav
from tokbench.data.crops import OWN_SCALE, View
from tokbench.data.draws import below, uniforms
from tokbench.data.frame_index import FrameIndex
from tokbench.data.media import VIDEOS
from tokbench.data.video import Video
from tokbench.data.whole import stamp
from tokbench.errors import TokbenchError, counted, did_you_mean

Windows = Literal["random", "first", "all"]
"""Which clips of a video: one at a random place, its first, or all that lie one behind another."""


@dataclass(frozen=True)
class VideoFile:
    """A video that is not open yet, and perhaps the step at which the clip begins."""

    source: bytes | Path
    name: str
    start: int | None = None


@dataclass(frozen=True)
class ClipView(View):
    """Clips of ``frames`` frames, every ``stride``-th step of the video's, one crop and one flip for all of them.

    Steps are the video's frames, whatever time lies between them; with ``fps``, the moments k / fps from its first
    frame on, each with the frame that is shown then. A video with fewer steps than a clip needs has none.
    """

    frames: int = 1
    stride: int = 1
    fps: float | None = None
    windows: Windows = "random"

    media = VIDEOS

    def __post_init__(self) -> None:
        super().__post_init__()
        need_pyav()
        if self.frames < 1 or self.stride < 1:
            raise TokbenchError(f"a clip has at least 1 frame and a stride of 1, not {self.frames} and {self.stride}")
        if self.fps is not None and not 0 < self.fps < 1000:
            raise TokbenchError(f"fps is {self.fps}; it must be above 0 and below 1000")
        if self.windows not in get_args(Windows):
            meant = did_you_mean(self.windows, get_args(Windows))
            raise TokbenchError(f"no windows are called {self.windows!r}{meant}")

    @property
    def size(self) -> Size:
        """(T, H, W) of a sample."""
        return (self.frames, *axes(self.image_size))

    def named(self, protocol: str) -> str:
        """The protocol's name with what decides the frames: figures of other windows or another rate never meet."""
        steps = "" if self.fps is None else f"-{self.fps:g}fps"
        stride = "" if self.stride == 1 else f"-stride{self.stride}"
        return super().named(f"{protocol}-{self.windows}{steps}{stride}")

    @property
    def random(self) -> bool:
        """Whether the same video differs from epoch to epoch."""
        return super().random or self.windows == "random"

    @property
    def span(self) -> int:
        """Steps from the first to the last of a clip, both counted."""
        return (self.frames - 1) * self.stride + 1

    def load(self, encoded: bytes | Path, name: str, start: int | None = None) -> VideoFile:
        """The video, to be opened where ``take`` knows which frames it wants."""
        return VideoFile(encoded, name, start)

    def take(self, loaded: VideoFile, epoch: int, index: int) -> tuple[Tensor, str]:
        """(uint8 (channels, T, H, W), ``@START``) of one clip: a pure function of the video and (seed, epoch, index).

        The bytes stay in the decoder's order (T, H, W, channels): they are put into that of the axes where they become
        floats anyway, which costs a third of doing it here.

        Raises:
            UnreadableVideo: it is damaged in these frames, or too short.
        """
        video = _opened(loaded)
        shown, start = self.steps(video), loaded.start or 0
        if loaded.start is None and self.windows == "random":
            start = below(len(shown) - self.span + 1, uniforms(5, self.seed, epoch, index)[4])
        wanted = shown[start : start + self.span : self.stride]
        clip = np.empty((self.frames, *axes(self.image_size), 3), np.uint8)

        # No crop without chance changes a frame that has the size already.
        size = axes(self.image_size) if self.crop not in CHANCE else None
        mirrored = self.flip and uniforms(4, self.seed, epoch, index)[3] < 0.5

        def take(number: int, frame: np.ndarray) -> None:
            if frame.shape[:2] != size:
                frame = np.asarray(self(Image.fromarray(frame), epoch, index))
            elif mirrored:
                frame = frame[:, ::-1]
            for t in places[number]:
                clip[t] = frame

        places: dict[int, list[int]] = {}
        for t, number in enumerate(wanted):
            places.setdefault(number, []).append(t)
        video.each(list(places), take)
        return self.seen(torch.from_numpy(clip.transpose(3, 0, 1, 2))), f"@{start}"

    def seen(self, image: Tensor) -> Tensor:
        """uint8 RGB (3, T, H, W) as the sample has it: (channels, T, H, W)."""
        return image if self.channels == 3 else super().seen(image.transpose(0, 1)).transpose(0, 1).contiguous()

    @property
    def needs_facts(self) -> bool:  # type: ignore[override]
        """Whether samples are known only when every file was examined."""
        return self.windows == "all"

    @property
    def examines(self) -> str:
        """What ``examine`` depends on, beside the file."""
        return f"videos 2 {need_pyav().__version__} {self.frames} {self.stride} {self.fps} {super().examines}"

    def examine(self, loaded: VideoFile) -> list[int]:
        """Decode all of a video -> [its steps, its frames, those the container says, frames in 1000 seconds (0: not
        known), steps whose frame is lost ...].

        Raises:
            UnreadableVideo: it cannot be read, or gives no clip. ValueError: its frames have a size that is refused.
        """
        with Video(loaded.source, name=loaded.name) as video:
            lost, shown = video.lost(), self.steps(video)
            super().examine(Image.fromarray(video.read([0])[0]) if self.crop in OWN_SCALE else None)
            gone = np.flatnonzero(np.isin(shown, lost)).tolist()
            said = video.declared if video.declared > len(video) + 1 else len(video)  # one more is said of whole ones
            rate = round(1000 * video.rate) if len(video) > 1 else 0
            return [len(shown), len(video) - len(lost), said, rate, *gone]

    @property
    def frame_rate(self) -> float | None:  # type: ignore[override]
        """Frames a second of a clip, where ``fps`` says it."""
        return None if self.fps is None else self.fps / self.stride

    def rate_of(self, facts: Sequence[int]) -> float | None:
        """The same of an examined video's clips."""
        return self.frame_rate or facts[3] / 1000 / self.stride or None

    def starts(self, facts: Sequence[int]) -> list[int] | None:
        """Where clips begin that lie one behind another, less those with lost frames; None for other windows."""
        if self.windows != "all":
            return None
        steps, lost = facts[0], set(facts[4:])
        every = range(0, steps - self.span + 1, self.frames * self.stride)
        return [s for s in every if lost.isdisjoint(range(s, s + self.span, self.stride))]

    def remarks(self, facts: dict[str, list[int]]) -> list[str]:
        """A line on videos of which frames are missing."""
        short = [(name, of[1], of[2]) for name, of in facts.items() if of[1] < of[2]]
        if not short:
            return []
        name, there, said = short[0]
        return [f"videos with damaged or missing frames: {len(short)} (such as {name}: {there} of {said} frames)"]

    def describe(self) -> str:
        """A line for the record: everything that decides the pixels."""
        steps = "frames" if self.fps is None else f"frames at {self.fps:g} a second"
        every = "" if self.stride == 1 else f", every {self.stride} steps"
        return f"{self.frames} {steps}{every}, windows {self.windows}, {super().describe()}"

    def steps(self, video: Video) -> Sequence[int]:
        """The frame at each step. Raises UnreadableVideo where they are too few for a clip."""
        found = self._steps(video)
        if len(found) >= self.span:
            return found
        what = counted(len(found), "frame") + ("" if self.fps is None else f" at {self.fps:g} a second")
        takes = f"a clip takes {self.span}" + (f" ({self.frames} with stride {self.stride})" if self.stride > 1 else "")
        raise UnreadableVideo(video.name, f"{what}, and {takes}")

    def _steps(self, video: Video) -> Sequence[int]:
        if self.fps is None:
            return range(len(video))
        seconds = video.seconds
        moments = np.arange(int(seconds[-1] * self.fps + 1e-6) + 1) / self.fps
        shown: list[int] = (np.searchsorted(seconds, moments + 1e-6, side="right") - 1).tolist()
        return shown


_kept = threading.local()
FRAMES = 4_000_000
"""Of as many frames at most it is kept where they are in their files, 24 bytes each."""


def _opened(file: VideoFile) -> Video:
    """The video, open. The last one stays open in each thread: clips one behind another need no search in the file. Of
    files the index is kept: without, every epoch would read all of a file for one clip."""
    source = id(file.source) if isinstance(file.source, bytes) else _stamped(file.source, file.name)
    key = (os.getpid(), source)  # a process that was forked must not read through its parent's place in the file
    videos: dict[tuple[int, int | str], Video] = _kept.__dict__.setdefault("videos", {})
    indices: dict[str, FrameIndex] = _kept.__dict__.setdefault("indices", {})
    if (found := videos.get(key)) is None:
        while videos:  # before the next is opened, which gets its memory, still in the processor's caches
            videos.popitem()[1].close()
        found = Video(file.source, name=file.name, index=indices.get(source) if isinstance(source, str) else None)
        videos[key] = found
        if isinstance(source, str) and source not in indices:
            indices[source] = found.index
            _kept.frames = getattr(_kept, "frames", 0) + len(found)
            while _kept.frames > FRAMES and len(indices) > 1:
                _kept.frames -= len(indices.pop(next(iter(indices))).times)
    return found


def _stamped(file: Path, name: str) -> str:
    try:
        return f"{os.path.abspath(file)} {stamp(os.stat(file))}"
    except OSError as error:
        raise UnreadableVideo(name, error.strerror or "cannot be opened") from error
