"""What each metric adds to the time of the Inception network, over pairs of an image and a worse one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.timing import device_name, seconds_of
from tokbench.errors import TokbenchError
from tokbench.metrics import get, names
from tokbench.metrics.base import CodeMetric, DistributionMetric, PairMetric, Pairs
from tokbench.metrics.extractors import extract, load_extractor
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.inception import NAME
from tokbench.metrics.statistics import CodeHistogram, Mean
from tokbench.results.environment import provenance

CODES = 1024  # of the random code map, at a sixteenth of the image's side


def bench_metrics(
    images: Any,
    metrics: Sequence[str] | None = None,
    *,
    count: int = 32,
    repeats: int = 5,
    warmup: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time the metrics of reconstructions on the first ``count`` of ``images`` (a ``tokbench.data.ImageDataset``).

    Inception alone looks at originals and reconstructions, as rFID does the first time; of a data set whose statistics
    are kept it looks at the reconstructions only, and everything else weighs twice as much beside it. Each metric is
    timed by itself and all of them in one pass, in turns, so that a machine that slows down slows all of them; shown
    are medians. The closing computations (eigenvalues, the subsets of KID) are not per image and are left out.

    Args:
        metrics: names; by default every metric of reconstructions that can be computed here.

    Returns:
        ``created``, ``git``, ``environment``, the settings, and ``rows`` of ``name``, ``seconds`` and two ratios to
        Inception: ``ratio`` (both sets looked at) and ``ratio_cached`` (the originals known).

    Raises:
        TokbenchError: the Inception weights are missing, an unknown metric, or nothing to time.
    """
    if count < 1 or repeats < 1 or warmup < 0:
        raise TokbenchError(f"nothing to time: {count} images, {repeats} repeats, warm-up {warmup}")
    where, size = torch.device(device), images.image_size
    if (reason := get("rfid").unavailable(size)) is not None:
        raise TokbenchError(f"the time of Inception is the measure: {reason}")
    known = names("reconstruction")
    for name in metrics or ():
        if get(name).name not in known:
            raise TokbenchError(f"{name!r} measures generated images, not reconstructions")
    chosen = [name for name in metrics or known if get(name).no_value(size, "image", "") is None]
    parts = _parts(chosen, _batch(images, count).to(where), where)

    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(warmup + repeats):
        for name, part in parts.items():
            elapsed = seconds_of(part, where)
            if turn >= warmup:
                seconds[name].append(elapsed)
        if progress is not None:
            progress(turn + 1, warmup + repeats)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    both, one = medians[_INCEPTION], medians[_INCEPTION] / 2
    rows = [{"name": _INCEPTION, "seconds": both, "ratio": 1.0, "ratio_cached": 1.0}]
    for name, median in medians.items():
        if name.startswith(_WHOLE):  # holds Inception on both sets
            rows.append({"name": name, "seconds": median, "ratio": median / both, "ratio_cached": (median - one) / one})
        elif name != _INCEPTION:
            rows.append({"name": name, "seconds": median, "ratio": median / both, "ratio_cached": median / one})
    return {
        **provenance(),
        "device": device_name(where),
        "data": images.source,
        "image_size": size,
        "images": min(count, len(images)),
        "metrics": chosen,
        "repeats": repeats,
        "warmup": warmup,
        "rows": rows,
    }


_INCEPTION, _WHOLE = "Inception alone", "everything"


def _batch(images: Any, count: int) -> Tensor:
    return torch.stack([images[index]["image"] for index in range(min(count, len(images)))])


def _parts(chosen: list[str], originals: Tensor, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is timed, by name: Inception, each metric that costs time of its own, and whole passes."""
    generator = torch.Generator().manual_seed(0)
    noise = 8 * torch.randn(originals.shape, generator=generator).to(device)
    worse = (originals.float() + noise).round_().clamp_(0, 255).to(torch.uint8)
    positions, shape = torch.arange(len(originals)), originals.shape[2:]
    grid = [max(side // 16, 1) for side in shape]
    codes = torch.randint(CODES, (len(originals), *grid, 1), generator=generator).to(device)
    pairs = [metric for name in chosen if isinstance(metric := get(name), PairMetric)]
    of_codes = [metric for name in chosen if isinstance(metric := get(name), CodeMetric)]
    spaces = {metric.extractor for name in chosen if isinstance(metric := get(name), DistributionMetric)}
    extractors = {name: load_extractor(name, device) for name in sorted(spaces | {NAME})}
    alone = extractors[NAME]

    def inception() -> None:
        alone(originals)
        alone(worse)

    def one(metric: PairMetric) -> Callable[[], object]:
        return lambda: metric.update(Mean(), Pairs(originals, worse))

    def histogram() -> None:
        CodeHistogram([CODES], math.prod(grid), math.prod(shape)).update(codes)

    def features() -> None:
        for images in (originals, worse):
            for name, found in extract(extractors, images).items():
                FeatureStatistics(extractors[name].dim, capacity=10_000).update(found, positions)

    def together(metrics: list[PairMetric]) -> Callable[[], object]:
        def run() -> None:
            shared = Pairs(originals, worse)
            for metric in metrics:
                metric.update(Mean(), shared)
            histogram()
            features()

        return run

    parts: dict[str, Callable[[], object]] = {_INCEPTION: inception}
    parts |= {metric.name: one(metric) for metric in pairs}
    if of_codes:
        parts[", ".join(metric.name for metric in of_codes)] = histogram
    light = [metric for metric in pairs if not metric.weights]
    if len(light) < len(pairs):
        parts[f"{_WHOLE} without {' and '.join(m.name for m in pairs if m.weights)}"] = together(light)
    parts[_WHOLE] = together(pairs)
    return {name: torch.inference_mode()(part) for name, part in parts.items()}
