"""How many pictures a second a source gives, by the number of worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from tokbench.data.base import Batch, ImageDataset
from tokbench.data.joint import JointLoader
from tokbench.data.loader import Loader, loader
from tokbench.data.stream import StreamedImages, StreamLoader


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
