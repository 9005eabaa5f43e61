"""Where the time of a pass goes."""

from __future__ import annotations

import time
from typing import Any

import torch

from tokbench.memory import peak_bytes, peak_measured


class Clock:
    """Seconds and images of each part of the pass; the first batch of each part is warm-up and counts apart."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: dict[str, list[tuple[float, int]]] = {}

    def lap(self, part: str, images: int) -> _Lap:
        return _Lap(self, part, images)

    def summary(self) -> dict[str, Any]:
        """Images per second of encode and decode without the first batch, seconds in metrics in all, the peak of
        memory, the device and its precision."""
        result: dict[str, Any] = {"warmup": 1}
        for part in ("encode", "decode"):
            laps = self.laps.get(part, [])
            laps, result["warmup"] = (laps[1:], result["warmup"]) if len(laps) > 1 else (laps, 0)
            seconds, images = sum(s for s, _ in laps), sum(i for _, i in laps)
            if seconds:
                result[f"{part}_images_per_second"] = round(images / seconds, 3)
        result["metrics_seconds"] = round(sum(s for s, _ in self.laps.get("metrics", [])), 3)
        return result | {
            "peak_memory_bytes": peak_bytes(self.device),
            "memory_measured": peak_measured(self.device),
            "device": device_name(self.device),
            "precision": _precision(self.device),
        }


def device_name(device: torch.device) -> str:
    """As records have it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _precision(device: torch.device) -> str:
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    tf32 = device.type == "cuda" and convolutions.fp32_precision == "tf32"
    return "float32, TF32 convolutions" if tf32 else "float32"


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
