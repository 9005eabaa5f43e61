"""Rate and distortion of clips: video codecs, and tokenizers at each of their three rates, in one table.

Two footings. ``clips``: every piece of ``frames`` frames is coded alone, from an intra frame on, since that is all
that a tokenizer of such clips sees. ``random access``: the same frames, uncut, as the codec would be used, with an
intra frame at least every ``period`` frames and pictures that look ahead.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from torch import Tensor

from tokbench.bench.codecs import Refused, VideoCodec, code, ffmpeg
from tokbench.config.grid import Size, plain
from tokbench.errors import TokbenchError
from tokbench.metrics import get
from tokbench.metrics.base import PairMetric, Pairs
from tokbench.metrics.statistics import Mean
from tokbench.results.environment import provenance

METRICS = ("psnr", "ms_ssim", "ssim", "lpips")
FRAMES = 17
PERIOD = 32
CLIPS, RANDOM_ACCESS = "clips", "random access"

NOTE = (
    "MAGVIT-v2's published point (0.0384 bpp on MCL-JCV at 640x360) is not the fixed-length rate of its tokenizer, "
    "18 bits at 4x8x8 = 0.0703 bpp (0.0827 with the first frame of 17); its sources do not say how it was reached, and "
    "it is not drawn here"
)


@dataclass
class Point:
    """One contender at one rate.

    Attributes:
        rate: what the bits are: ``pictures`` (a codec's), ``fixed``, ``entropy`` or ``model`` (a tokenizer's).
        bpp: bits per pixel and frame, of pictures alone: without parameter sets, start codes and messages.
        bpp_stream: of the whole raw stream; None for a tokenizer, which writes none.
        metrics: means over all frames.
        settings: the encoder's arguments.
        bound: the rate is an upper bound, of a generator without an exact likelihood.
    """

    name: str
    rate: str
    footing: str
    bpp: float
    bpp_stream: float | None
    metrics: dict[str, float]
    quality: int | None = None
    settings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    bound: bool = False


class Distortion:
    """Means over frames of the metrics that have a value at these sizes and with the weights that are here."""

    def __init__(self, size: Size) -> None:
        found = [metric for name in METRICS if isinstance(metric := get(name), PairMetric)]
        self.unavailable = {metric.name: why for metric in found if (why := metric.unavailable(size)) is not None}
        self.metrics = [metric for metric in found if metric.name not in self.unavailable]
        self.means = {metric.name: Mean() for metric in self.metrics}

    def update(self, reference: Tensor, sample: Tensor) -> None:
        """uint8 frames (N, 3, H, W) twice."""
        pairs = Pairs(reference, sample)
        for metric in self.metrics:
            self.means[metric.name].update(metric.per_image(pairs))

    def values(self) -> dict[str, float]:
        return {name: mean.value() for name, mean in self.means.items()}


def pieces(videos: Sequence[Tensor], frames: int) -> Iterator[Tensor]:
    """Videos (3, T, H, W) cut into clips of ``frames``; what is left over is not in them."""
    for video in videos:
        yield from whole(video, frames).split(frames, dim=1)


def whole(video: Tensor, frames: int) -> Tensor:
    """The frames of a video that ``pieces`` has."""
    return video[:, : video.shape[1] // frames * frames]


def bench_codecs(
    videos: Sequence[Tensor],
    codecs: Sequence[VideoCodec],
    *,
    frames: int = FRAMES,
    period: int = PERIOD,
    beside: Sequence[Callable[[Sequence[Tensor], int], list[Point]]] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The table of ``codecs`` on ``videos``, and of what stands beside them.

    What a codec refuses is left out and told: the others' work stays.

    Args:
        videos: uint8 (3, T, H, W) of one size, T of at least ``frames``.
        frames: of a clip. Both footings code the same frames.
        period: frames between intra frames, at most, in random access: a multiple of 32, which VVC's groups want.
        beside: (videos, frames) -> points of a tokenizer (``tokbench.bench.token_rates``).

    Returns:
        ``created``, ``git``, ``environment``, the settings, ``note``, ``rows``: ``Point`` as JSON, ``refused``:
        ``name``, ``footing``, ``quality`` and ``why`` of each point that is not among them, and ``unavailable``: why a
        metric has no value.

    Raises:
        TokbenchError: no video with enough frames, sides that a codec cannot take, no ffmpeg, nothing but refusals.
    """
    if frames < 1 or period < 32 or period % 32:
        raise TokbenchError(f"clips of {frames} frames, intra period {period}: a multiple of 32 is needed, and a frame")
    long = [video for video in videos if video.shape[1] >= frames]
    if not long:
        longest = max((video.shape[1] for video in videos), default=0)
        raise TokbenchError(f"no video has the {frames} frames of a clip; the longest of {len(videos)} has {longest}")
    count = sum(whole(video, frames).shape[1] for video in long)
    tokenizers = [point for contender in beside for point in contender(long, frames)]  # first: these may not fit
    found: list[Point] = []
    refused: list[dict[str, Any]] = []
    cut = any(video.shape[1] >= 2 * frames for video in long)  # else both footings are the same
    footings = (CLIPS, RANDOM_ACCESS) if cut else (CLIPS,)
    turns = [(codec, footing, q) for codec in codecs for footing in footings for q in codec.qualities]
    for done, (codec, footing, quality) in enumerate(turns):
        try:
            found.append(_coded(codec, footing, quality, long, frames, period))
        except Refused as error:
            refused.append({"name": codec.name, "footing": footing, "quality": quality, "why": str(error)})
        if progress is not None:
            progress(done + 1, len(turns))
    if refused and not found + tokenizers:
        raise TokbenchError(refused[0]["why"])
    return {
        **provenance(),
        "ffmpeg": f"{metadata.version('imageio-ffmpeg')} ({ffmpeg_version()})",
        "size": list(long[0].shape[2:]),
        "videos": len(long),
        "videos_too_short": len(videos) - len(long),
        "frames": count,
        "clip_frames": frames,
        "intra_period": period,
        "note": NOTE,
        "refused": refused,
        "unavailable": Distortion(plain(long[0].shape[2:])).unavailable,
        "rows": [asdict(point) for point in found + tokenizers],
    }


def ffmpeg_version() -> str:
    """The first words of what the program says of itself."""
    said = subprocess.run([ffmpeg(), "-version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:3])


def _coded(codec: VideoCodec, footing: str, quality: int, videos: Sequence[Tensor], frames: int, period: int) -> Point:
    start = time.perf_counter()
    sources = pieces(videos, frames) if footing == CLIPS else (whole(video, frames) for video in videos)
    distortion = Distortion(plain(videos[0].shape[2:]))
    period = PERIOD * -(-frames // PERIOD) if footing == CLIPS else period  # longer than a clip
    streams = pictures = pixels = 0
    for source in sources:
        coded = code(source, codec, quality, period)
        streams, pictures = streams + 8 * coded.stream_bytes, pictures + 8 * coded.picture_bytes
        pixels += source[0].numel()
        distortion.update(source.transpose(0, 1), coded.decoded.transpose(0, 1))
    return Point(
        name=codec.name,
        rate="pictures",
        footing=footing,
        bpp=pictures / pixels,
        bpp_stream=streams / pixels,
        metrics=distortion.values(),
        quality=quality,
        settings=codec.settings(quality, period),
        seconds=round(time.perf_counter() - start, 3),
    )
