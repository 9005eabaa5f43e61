"""A video file, whatever is odd about it, as windows of its frames in RGB: the one door that clips enter by.

Frames are numbered in the order in which they are shown, from the times that the container gives; any of them is had by
seeking to the key frame before it and decoding on, which gives what decoding from the front gives. Colours are
converted once, by the matrix and the range that the stream declares (BT.601 where it declares none, whatever its
size). A phone's rotation is applied; pixels that are not square stay as they are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokbench.data.container import UnreadableVideo, need_pyav, open_stream
from tokbench.data.frame_index import NONE, FrameIndex, is_hidden
from tokbench.errors import counted

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


_TOGETHER = 2**19
"""Pixels that are decoded in one go and then converted: in turns, frame by frame, decoder, converter and Python push
each other out of the processor's caches."""


class Video:
    """The largest video stream of a file, open until ``close`` (or the end of a ``with`` block).

    Args:
        index: of the same file, from the last time that it was open; without, all packets are read for it.

    Attributes:
        index: of its frames.

    Raises:
        UnreadableVideo: missing, empty, no video in a known format, no frames, or it breaks off.
    """

    def __init__(self, source: bytes | Path, *, name: str, index: FrameIndex | None = None) -> None:
        self.source, self.name = source, name
        self._av = need_pyav()
        self._container: InputContainer | None = None
        self._stream = self._open()
        self.base = self._stream.time_base
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._running: Iterator[VideoFrame] | None = None
        self._at, self._broken = -1, set[int]()
        self._numbers: dict[int, int] = {}
        self.index = index or FrameIndex(NONE, NONE, None, 0)
        try:
            self.index = index or self._indexed()
        except UnreadableVideo:
            self.close()
            raise
        if self.index.order is not None:
            self._numbers = {time: number for number, time in enumerate(self.times.tolist())}

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._running = None
        self._release()

    def _release(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def times(self) -> np.ndarray:
        """int64 (N,): when each frame is shown, in units of ``base`` (seconds), ascending."""
        return self.index.times

    @property
    def declared(self) -> int:
        """Frames by the header: see the index."""
        return self.index.declared

    @property
    def seconds(self) -> np.ndarray:
        """float64 (N,): when each frame is shown, counted from the first."""
        return (self.times - self.times[0]) * float(self.base or 1)

    @property
    def rate(self) -> Fraction:
        """Frames a second on average; 25 where there is one frame only, or no times."""
        seconds = float(self.seconds[-1])
        return Fraction((len(self) - 1) / seconds).limit_denominator(1001) if seconds > 0 else Fraction(25)

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """uint8 (len(indices), H, W, 3) in RGB, upright; an index may come several times. Raises as ``read``."""
        return np.stack(self.read(indices))

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames one by one, uint8 (H, W, 3).

        Raises:
            UnreadableVideo: one of them cannot be decoded, or is damaged, or they differ in size.
        """
        found: dict[int, np.ndarray] = {}
        self.each(indices, found.__setitem__)
        return [found[k] for k in indices]

    def each(self, indices: Sequence[int], take: Callable[[int, np.ndarray], object]) -> None:
        """``take(index, frame)`` soon after a frame is decoded: none waits for more than half a million pixels.

        Raises:
            UnreadableVideo: as ``read``, when some were taken. A damaged frame may be taken, and one be taken twice.
        """
        wanted = sorted(set(indices))
        key = self._key_before(wanted[0])
        if self._running is None or not (key or 0) - 1 <= self._at < wanted[0]:
            self._start(key)
        try:
            shapes = self._decoded(wanted, take)
        except self._av.FFmpegError:
            self._start(key, past_damage=True)
            shapes = self._decoded(wanted, take)
        if len(shapes) < len(wanted):  # what the flag of a key frame, or an index, promises need not be true
            self._start(None, past_damage=True)
            shapes |= self._decoded(wanted, take)
        missing = next((k for k in wanted if k not in shapes), None)
        if missing is not None:
            raise UnreadableVideo(self.name, f"frame {missing} of {len(self)} is damaged")
        if len(set(shapes.values())) > 1:
            raise UnreadableVideo(self.name, "its frames change their size")

    def lost(self) -> list[int]:
        """The frames that cannot be decoded, with damage that the decoder notices, or that come behind later ones (the
        times are wrong). Decodes all of them."""
        self._start(None, past_damage=True)
        assert self._running is not None
        whole, last = set[int](), 0
        for frame in self._running:
            index = self._placed(frame)
            if index is not None and index >= last:
                whole.add(index)
                last = index
        for index in set(range(len(self))) - whole:
            self._broken |= self._depending_on(index)
        self._running = None
        return sorted(self._broken)

    def _start(self, key: int | None, past_damage: bool = False) -> None:
        """Decode from frame ``key`` on (None: from the front): the next frames behind need no search. Damage raises,
        or ``_broken`` gets its frames at several times the cost of asking for the next."""
        self._running, self._at, self._broken = None, (key or 0) - 1, set()
        if key is None:
            self._stream = self._open()
        assert self._container is not None
        try:
            if key is not None:
                self._container.seek(int(self.times[key]), stream=self._stream)
            self._running = self._past_damage() if past_damage else self._container.decode(self._stream)
        except self._av.FFmpegError:
            self._running = iter(())

    def _decoded(self, wanted: list[int], take: Callable[[int, np.ndarray], object]) -> dict[int, tuple[int, ...]]:
        """The shapes of those of the frames that decoding on gives whole. Raises FFmpegError."""
        found: dict[int, tuple[int, ...]] = {}
        missing, last = set(wanted), wanted[-1]
        most = max(1, _TOGETHER // (self._stream.width * self._stream.height))
        running, self._running = self._running, None  # where it stands is not known if it is interrupted
        assert running is not None
        while missing and self._at < last:
            frames = list(itertools.islice(running, min(most, last - self._at)))
            if not frames:
                break
            for frame in frames:
                index = self._placed(frame)
                if index in missing:
                    pixels = self._rgb(frame)
                    found[index] = pixels.shape
                    take(index, pixels)
                    missing.remove(index)
        else:
            self._running = running
        return {index: found[index] for index in found.keys() - self._broken}

    def _rgb(self, frame: VideoFrame) -> np.ndarray:
        in_rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        if in_rgb is frame:
            pixels = frame.to_ndarray()
        else:  # the converted frame's own memory: whoever keeps it longer copies it anyway
            plane, height, width = in_rgb.planes[0], in_rgb.height, in_rgb.width
            lines = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)  # type: ignore[call-overload]
            pixels = lines[:, : 3 * width].reshape(height, width, 3)
        rotation = frame.rotation
        return np.rot90(pixels, round(rotation / 90) % 4) if rotation else pixels

    def _past_damage(self) -> Iterator[VideoFrame]:
        """Frames from where the container stands; ``_broken`` gets those whose packets cannot be decoded."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                self._broken |= self._depending_on(self._number(packet))
                continue
            yield from frames

    def _placed(self, frame: VideoFrame) -> int | None:
        """The number of the next frame, None where its time is nobody's; ``_broken`` gets it if the decoder says so."""
        index = self._at + 1 if self.index.order is None else self._number(frame)
        if frame.is_corrupt:
            self._broken |= self._depending_on(index)
        if index is not None:
            self._at = index
        return index

    def _packets(self) -> Iterator[Any]:
        """Those from where the container stands to the end, or to where the file breaks off."""
        assert self._container is not None
        with suppress(self._av.FFmpegError):
            yield from self._container.demux(self._stream)

    def _number(self, timed: Any) -> int | None:
        """Of a packet or a frame, by its time."""
        return self._numbers.get(timed.pts)

    def _depending_on(self, index: int | None) -> set[int]:
        """A frame, and those behind it in the order of decoding up to the next key frame: they may be made from it."""
        if index is None:
            return set()
        order = self.index.order
        if order is None:
            return {index}
        place = int(np.flatnonzero(order == index)[0])
        keys = np.isin(order[place + 1 :], self.index.keys)
        until = place + 1 + int(keys.argmax()) if keys.any() else len(order)
        return set(order[place:until].tolist())

    def _key_before(self, index: int) -> int | None:
        """The last key frame that is shown no later."""
        before = int(np.searchsorted(self.index.keys, index, side="right")) - 1
        return int(self.index.keys[before]) if before >= 0 else None

    def _indexed(self) -> FrameIndex:
        """From the packets, without decoding them. Where these have no times, or two of them the same, frames are
        decoded once and from then on counted from the front.
        """
        assert self._container is not None
        times: list[int | None] = []
        keys: list[int | None] = []
        declared, torn, vp8 = self._stream.frames, False, self._stream.codec_context.name == "vp8"
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_discard:  # outside of what is to be shown
                    declared = max(0, declared - 1)
                if not packet.size or packet.is_discard or (vp8 and is_hidden(packet)):
                    continue  # the end, one of those, a frame left out by its encoder
                times.append(packet.pts)
                keys += [packet.pts] if packet.is_keyframe else []
                torn = packet.is_corrupt
        except self._av.FFmpegError:
            torn = True
        if torn:
            raise UnreadableVideo(self.name, f"breaks off after {counted(len(times), 'frame')}")
        if not times:
            raise UnreadableVideo(self.name, "no frames in its video stream")
        if None in times or len(set(times)) < len(times):
            return self._counted(declared)
        decoded = np.array(times, dtype=np.int64)
        shown = np.sort(decoded)
        keyed = np.searchsorted(shown, np.sort(np.array(keys, dtype=np.int64)))
        return FrameIndex(shown, keyed, np.searchsorted(shown, decoded), declared)

    def _counted(self, declared: int) -> FrameIndex:
        self._stream = self._open()
        rate = float(self._stream.average_rate or 25) * float(self.base or 1)
        shown = enumerate(self._past_damage())
        times = [round(k / rate) if frame.pts is None else frame.pts for k, frame in shown]
        if not times:
            raise UnreadableVideo(self.name, "none of its frames can be decoded")
        return FrameIndex(np.maximum.accumulate(np.array(times, np.int64)), NONE, None, declared)

    def _open(self) -> VideoStream:
        """Open the file anew and find its video stream."""
        self._release()
        self._container, stream = open_stream(self.source, self.name)
        return stream
