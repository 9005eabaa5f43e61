"""How many images per second a source gives, by the number of worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from tokbench.data.base import Batch, ImageDataset
from tokbench.data.clip_view import ClipView
from tokbench.data.container import open_stream
from tokbench.data.joint import JointLoader
from tokbench.data.loader import Loader, loader
from tokbench.data.stream import StreamedImages
from tokbench.data.stream_loader import StreamLoader
from tokbench.data.video import Video
from tokbench.data.whole import WholePictures


@dataclass(frozen=True)
class Throughput:
    """``first_batch``: seconds until the first batch, workers' start included; the rate counts what came after it."""

    workers: int
    first_batch: float
    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else float("nan")


def measure(
    dataset: ImageDataset | StreamedImages, *, batch_size: int, workers: int, seconds: float, shuffle: bool = True
) -> Throughput:
    """Batches through for about ``seconds``, over as many epochs as it takes. Nothing is done with them."""
    source = loader(dataset, batch_size=batch_size, shuffle=shuffle, seed=0, workers=workers)
    started = time.perf_counter()
    batches = _endless(source)
    next(batches)
    begun = time.perf_counter()
    images = 0
    for batch in batches:
        images += len(batch["id"])
        if time.perf_counter() - begun >= seconds:
            break
    return Throughput(workers, begun - started, images, time.perf_counter() - begun)


def _endless(source: Loader | StreamLoader | JointLoader) -> Iterator[Batch]:
    for epoch in count():
        source.set_epoch(epoch)
        yield from source


@dataclass(frozen=True)
class Decoding:
    """Frames a CPU second of the same videos from their fronts to the ends of their last clips, which are ``part`` of
    all their frames: as clips of a set, and by PyAV alone."""

    clips: float
    decoded: float
    decoded_to_rgb: float
    part: float


def beside_pyav(clips: WholePictures, *, seconds: float) -> Decoding:
    """What the reader's speed is beside PyAV's own on one thread, taking turns on every video, for about ``seconds``.
    What counts is CPU time: a machine that does other work slows both, but not evenly from turn to turn.

    Args:
        clips: of windows ``all``; frames that a stride passes over are decoded on the way and not counted.
    """
    view = clips.view
    assert isinstance(view, ClipView) and clips.starts is not None
    times = {"clips": 0.0, "decoded": 0.0, "decoded_to_rgb": 0.0}
    frames = dict.fromkeys(times, 0)
    ends: dict[int, int] = {}
    whole = 0
    for position in dict.fromkeys(clips.kept.tolist()):
        with Video(clips.encoded(position), name=clips.name(position)) as video:
            last = clips.starts[clips.kept == position].max() + view.span - 1
            ends[position] = int(view.steps(video)[last]) + 1
            whole += len(video)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for position, end in ends.items():
            samples = np.flatnonzero(clips.kept == position).tolist()
            for what in times:
                started = time.process_time()
                if what == "clips":
                    frames[what] += sum(clips[index]["image"].shape[1] for index in samples)
                else:
                    frames[what] += _decoded(clips, position, end, to_rgb=what == "decoded_to_rgb")
                times[what] += time.process_time() - started
    return Decoding(**{what: frames[what] / times[what] for what in times}, part=sum(ends.values()) / whole)


def _decoded(clips: WholePictures, position: int, end: int, *, to_rgb: bool) -> int:
    """Frames of a video, the first ``end`` of them, decoded by PyAV."""
    container, stream = open_stream(clips.encoded(position), clips.name(position))
    count = 0
    with container:
        for frame in islice(container.decode(stream), end):
            if to_rgb:
                frame.to_ndarray(format="rgb24", threads=1)
            count += 1
    return count
