"""Video codecs as they stand beside tokenizers: clips of RGB in, raw streams and what they decode to out.

All are programs' libraries inside one ffmpeg (the package imageio-ffmpeg), which is run, not linked.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tokbench.bench.bitstream import picture_bytes
from tokbench.errors import TokbenchError, did_you_mean, printable

FPS = 30
_CONVERSION = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int+bitexact"]


@dataclass(frozen=True)
class VideoCodec:
    """One encoder.

    Attributes:
        stream: ffmpeg's name of its raw stream: no container, so no container's bytes.
        pixels: what it codes; RGB becomes this by BT.601 and comes back by it.
        qualities: its own scale, from good to bad.
        settings: (quality, intra period in frames) -> arguments. All run on one thread, tuned for PSNR where they can
            be, so that a result depends on no machine.
    """

    name: str
    standard: str
    stream: str
    pixels: str
    qualities: tuple[int, ...]
    settings: Callable[[int, int], list[str]]


def _x264(quality: int, period: int) -> list[str]:
    return ["-c:v", "libx264", "-preset", "medium", "-tune", "psnr", "-crf", f"{quality}", "-g", f"{period}"]


def _x265(quality: int, period: int) -> list[str]:
    # Without info=0 it writes its settings into the stream, which at seventeen frames are a third of it.
    params = f"info=0:log-level=error:pools=none:frame-threads=1:keyint={period}"
    return ["-c:v", "libx265", "-preset", "medium", "-tune", "psnr", "-crf", f"{quality}", "-x265-params", params]


def _kvazaar(quality: int, period: int) -> list[str]:
    return ["-c:v", "libkvazaar", "-kvazaar-params", f"qp={quality},period={period},gop=16,threads=0,owf=0"]


def _vvenc(quality: int, period: int) -> list[str]:
    params = f"intraperiod={period}"
    return ["-c:v", "libvvenc", "-preset", "faster", "-qp", f"{quality}", "-qpa", "0", "-vvenc-params", params]


def _svt(quality: int, period: int) -> list[str]:
    params = f"tune=1:lp=1:keyint={period}"
    return ["-c:v", "libsvtav1", "-preset", "6", "-crf", f"{quality}", "-svtav1-params", params]


CODECS = {
    codec.name: codec
    for codec in (
        VideoCodec("x264", "H.264/AVC", "h264", "yuv420p", (22, 27, 32, 37, 42), _x264),
        VideoCodec("x265", "H.265/HEVC", "hevc", "yuv420p", (22, 27, 32, 37, 42), _x265),
        VideoCodec("kvazaar", "H.265/HEVC", "hevc", "yuv420p", (22, 27, 32, 37, 42), _kvazaar),
        VideoCodec("vvenc", "H.266/VVC", "vvc", "yuv420p10le", (22, 27, 32, 37, 42), _vvenc),
        VideoCodec("svt-av1", "AV1", "obu", "yuv420p", (23, 33, 43, 53, 63), _svt),
    )
}


class Refused(TokbenchError):
    """What one encoder does not take, which says nothing of the others."""


@dataclass(frozen=True)
class Coded:
    """A clip through a codec: the stream's bytes, those of them that carry pictures, and the clip (3, T, H, W)."""

    stream_bytes: int
    picture_bytes: int
    decoded: Tensor


def chosen(names: Sequence[str] | None) -> list[VideoCodec]:
    """The codecs of these names, by default all. TokbenchError: an unknown one."""
    for name in names or ():
        if name not in CODECS:
            raise TokbenchError(f"no codec {name!r}{did_you_mean(name, CODECS)}")
    return [CODECS[name] for name in dict.fromkeys(names or CODECS)]


def ffmpeg() -> str:
    """The program. TokbenchError where the package that brings it is not installed."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise TokbenchError("the codecs come with imageio-ffmpeg: pip install 'tokbench[video]'") from None


def code(clip: Tensor, codec: VideoCodec, quality: int, period: int) -> Coded:
    """Encode a clip into a raw stream and decode that.

    Args:
        clip: uint8 (3, T, H, W), H and W multiples of 8 and at least 32, which all of them take.
        period: an intra frame at least every so many frames.

    Raises:
        Refused: the encoder fails, or gives other frames than it was given.
        TokbenchError: other sides, no ffmpeg.
    """
    frames, height, width = clip.shape[1:]
    if height % 8 or width % 8 or min(height, width) < 32:
        raise TokbenchError(f"codecs need sides that are multiples of 8, from 32 on, not {height}x{width}")
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    size = ["-s", f"{width}x{height}", "-r", f"{FPS}"]
    with tempfile.TemporaryDirectory(prefix="tokbench-") as folder:
        file = Path(folder) / f"stream.{codec.stream}"
        arguments = [*_CONVERSION, "-pix_fmt", codec.pixels, *codec.settings(quality, period), "-threads", "1"]
        pixels = clip.permute(1, 2, 3, 0).cpu().contiguous().numpy().tobytes()
        _run(codec, [*raw, *size, "-i", "-", *arguments, "-f", codec.stream, str(file)], pixels)
        stream = file.read_bytes()
        shown = _run(codec, ["-f", codec.stream, "-i", str(file), *_CONVERSION, *raw, "-"])
    if len(shown) != len(pixels):
        got = len(shown) // (3 * height * width)
        raise Refused(f"{codec.name}: of {frames} frames {got} came back")
    decoded = torch.frombuffer(bytearray(shown), dtype=torch.uint8).view(frames, height, width, 3)
    return Coded(len(stream), picture_bytes(stream, codec.stream), decoded.permute(3, 0, 1, 2).contiguous())


def _run(codec: VideoCodec, arguments: list[str], given: bytes | None = None) -> bytes:
    command = [ffmpeg(), "-v", "error", "-nostdin", "-y", *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False)
    except OSError as error:
        raise TokbenchError(f"{command[0]}: cannot be run: {error.strerror}") from None
    if done.returncode:
        said = re.sub(r"(?m)^(\[[^\]]*\] )+", "", done.stderr.decode("utf-8", "replace")).strip().splitlines()
        why = printable(said[0], 160) if said else f"it ended with {done.returncode}"
        raise Refused(f"{codec.name}: {why}")
    return done.stdout
