"""Short videos that the tests encode for themselves, as cameras and tools write them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.data.container import metadata_ignored
from tokbench.data.video import Video


def moving(count: int, width: int = 48, height: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): a bright square that moves over a smooth ground; every frame differs."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width]
    ground = np.stack([(down * a + across * b) % 160 for a, b in rng.integers(1, 4, (3, 2))], axis=-1)
    frames = np.repeat(ground[None], count, axis=0).astype(np.uint8)
    for k, frame in enumerate(frames):
        x, y = (3 * k + 5 * seed) % (width - 8), (2 * k) % (height - 8)
        frame[y : y + 8, x : x + 8] = (250, 220 - 3 * (k % 60), 40 + 3 * (k % 60))
    return frames


def encode(
    frames: np.ndarray,
    *,
    kind: str = "mp4",
    codec: str = "libx264",
    rate: int = 25,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    beside: Sequence[tuple[int, int]] = (),
    audio: bool = False,
    pix_fmt: str = "yuv420p",
    metadata: dict[str, str] | None = None,
    faststart: bool = False,
    **options: str,
) -> bytes:
    """Frames (N, H, W, 3) as a file's bytes; equal frames give equal bytes.

    Args:
        faststart: put the index in front, so that a cut file still has it.
        times: when each is shown, in 1/1000 s; at ``rate`` where they are not given.
        beside: sizes of further video streams, which come first in the file.
    """
    import av

    out = tempfile.NamedTemporaryFile(suffix=f".{kind}")  # an index in front takes a second pass over the file
    settings = {"movflags": "faststart"} if faststart else {}
    with out, av.open(out.name, "w", format=kind, options=settings) as container:
        container.metadata.update(metadata or {})
        others = [_stream(container, "libx264", rate, size, "yuv420p", {}) for size in beside]
        stream = _stream(container, codec, rate, frames.shape[2:0:-1], pix_fmt, {"g": "12", **options})
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=8000) if audio else None
        for k, pixels in enumerate(frames):
            for other in others:
                small = np.ascontiguousarray(np.resize(pixels, (other.height, other.width, 3)))
                container.mux(other.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[k], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if sound is not None:
            container.mux(sound.encode(_silence(len(frames) * 8000 // rate)))
        for one in [*others, stream, *([sound] if sound is not None else [])]:
            container.mux(one.encode(None))
        container.close()
        return Path(out.name).read_bytes()


def sound_only() -> bytes:
    """An MP4 of a second of silence."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        container.mux(stream.encode(_silence(8000)))
        container.mux(stream.encode(None))
    return out.getvalue()


def plain(data: bytes, stream: int = 0) -> np.ndarray:
    """All frames as PyAV itself decodes them, from front to back."""
    import av

    with av.open(io.BytesIO(data), **metadata_ignored(av)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=stream)])


def read(data: bytes, indices: Sequence[int] | None = None) -> np.ndarray:
    """Frames through the door; all where no indices are given."""
    with Video(data, name="a.mp4") as video:
        return video.frames(range(len(video)) if indices is None else indices)


def _stream(container: Any, codec: str, rate: int, size: Sequence[int], pix_fmt: str, options: dict[str, str]) -> Any:
    stream = container.add_stream(codec, rate=rate)
    stream.width, stream.height, stream.pix_fmt = int(size[0]), int(size[1]), pix_fmt
    if codec == "libx264":  # as in tokbench/clips.py: its vector code may give other bytes another time
        stream.thread_count = 1
        options = {**options, "x264-params": ":".join(["asm=0", *filter(None, [options.get("x264-params")])])}
    stream.options = options
    return stream


def _silence(samples: int) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 8000
    return frame
