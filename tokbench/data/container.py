"""Opening a file as a video: which formats are, which of its streams is meant, and one line where it is none."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.data.decode import MAX_ASPECT, UnreadableImage
from tokbench.errors import TokbenchError, printable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,yuv4mpegpipe,ivf,obu,"
    "av1"
)
"""FFmpeg's names of what is opened. It knows more, some of which are lists of other files and addresses to open."""


MOST_PIXELS = 2**26
"""A frame of twice 8K; a header that claims more would take gigabytes."""


class UnreadableVideo(UnreadableImage):
    """A file that cannot be had as a video, or not these frames of it."""

    what = "a video"


def need_pyav() -> Any:
    """The module ``av``. Raises TokbenchError where it is not installed."""
    try:
        import av
    except ImportError:
        raise TokbenchError("videos are read and written with PyAV: pip install 'tokbench[video]'") from None
    return av


def metadata_ignored(av: Any) -> dict[str, Any]:
    """What tells ``av.open`` to pass over titles that are not UTF-8, which PyAV does by itself from 19 on."""
    return {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_stream(source: bytes | Path, name: str) -> tuple[InputContainer, VideoStream]:
    """A file, or its bytes, -> the open container and its largest video stream (the first of several; no cover).

    Raises:
        UnreadableVideo: missing, empty, no video in a known format, none in it, or one of absurd size.
    """
    av = need_pyav()
    try:
        options = {"format_whitelist": _CONTAINERS}
        container = av.open(_file(source, name), container_options=options, **metadata_ignored(av))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(name, _told(error)) from error
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    streams = [s for s in streams if s.codec_context is not None and s.width * s.height]
    if not streams:
        container.close()
        raise UnreadableVideo(name, "no video in it")
    stream: VideoStream = max(streams, key=lambda s: s.width * s.height)
    width, height = stream.width, stream.height
    if width * height > MOST_PIXELS or max(width, height) > MAX_ASPECT * min(width, height):
        container.close()
        raise UnreadableVideo(name, f"its frames are {width}x{height}, too large or too long")
    stream.thread_count = 1  # processes read side by side
    return container, stream


def _file(source: bytes | Path, name: str) -> Any:
    """What FFmpeg opens: bytes in memory, or a path that it cannot take for an address."""
    if isinstance(source, bytes):
        if not source:
            raise UnreadableVideo(name, "the file is empty")
        return io.BytesIO(source)
    status = os.stat(source)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableVideo(name, "not a file")  # a pipe would be waited for
    if not status.st_size:
        raise UnreadableVideo(name, "the file is empty")
    try:
        os.fspath(source).encode()
    except UnicodeEncodeError:  # a name that is not UTF-8
        return open(source, "rb")
    return f"file:{source}"


def _told(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if "nvalid data" in reason or reason == "Invalid argument":  # the latter of a format that is not among ours
        reason = "not a video in a known format, or damaged"
    return printable(" ".join(reason.split()), 200) or type(error).__name__
