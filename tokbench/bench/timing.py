"""The clock of the benchmarks, and on what it ran."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def seconds_of(function: Callable[[], object], device: torch.device | str) -> float:
    """Seconds that one call takes, on a GPU until the device has finished it."""
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(ways: Mapping[str, Callable[[], object]], turns: int, device: torch.device | str) -> dict[str, float]:
    """Median seconds of each, taking turns, so that a slow moment of the machine falls on all; the first is untimed."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            elapsed = seconds_of(way, device)
            if turn:
                spent[name].append(elapsed)
    return {name: statistics.median(times) for name, times in spent.items()}


def device_name(device: torch.device | str) -> str:
    """A GPU's name, or how many threads of the CPU torch takes."""
    where = torch.device(device)
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} CPU threads"


def load() -> float | None:
    """Of the machine in the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
