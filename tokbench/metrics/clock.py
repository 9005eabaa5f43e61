"""Where the time of a pass goes."""

from __future__ import annotations

import time
from typing import Any

import torch


class Clock:
    """Seconds and images of each part of the pass; the first batch of each part is warm-up and counts apart."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: dict[str, list[tuple[float, int]]] = {}

    def lap(self, part: str, images: int) -> _Lap:
        return _Lap(self, part, images)

    def summary(self) -> dict[str, Any]:
        """Images per second of encode and decode without the first batch, and seconds in metrics in all."""
        result: dict[str, Any] = {"warmup": 1}
        for part in ("encode", "decode"):
            laps = self.laps.get(part, [])
            laps, result["warmup"] = (laps[1:], result["warmup"]) if len(laps) > 1 else (laps, 0)
            seconds, images = sum(s for s, _ in laps), sum(i for _, i in laps)
            if seconds:
                result[f"{part}_images_per_second"] = round(images / seconds, 3)
        result["metrics_seconds"] = round(sum(s for s, _ in self.laps.get("metrics", [])), 3)
        return result


class _Lap:
    def __init__(self, clock: Clock, part: str, images: int) -> None:
        self.clock, self.part, self.images = clock, part, images

    def __enter__(self) -> None:
        self._sync()
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._sync()
        self.clock.laps.setdefault(self.part, []).append((time.perf_counter() - self.start, self.images))

    def _sync(self) -> None:
        # A GPU returns before it is done; without this the decoder would pay for the encoder.
        if self.clock.device.type == "cuda":
            torch.cuda.synchronize(self.clock.device)
