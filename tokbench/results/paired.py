"""Two records of the very same images, compared image by image: by how much, within which interval, and a verdict.

Each record names a CSV of what every image scored (artifact ``images``). The interval is the percentile bootstrap over
images of the mean difference: two tokenizers find the same images hard, so that it is far narrower than what the two
standard errors of the means would give. It says nothing of other seeds: that is what several seeds are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tokbench.results.artifacts import artifact_text
from tokbench.results.record import Record

IMAGES = "images"
"""The artifact's name."""
RESAMPLES, COVERAGE = 9999, 0.95


class Paired(NamedTuple):
    """The mean over ``n`` images of the second less the first, and its interval."""

    difference: float
    low: float
    high: float
    n: int

    def verdict(self, direction: str) -> str:
        """``better`` or ``worse`` of the second where the interval leaves zero out, else ``undecided``; ``differs``
        of a metric that has no better direction."""
        if self.low <= 0 <= self.high:
            return "undecided"
        if direction == "none":
            return "differs"
        return "better" if (self.difference > 0) == (direction == "higher") else "worse"


def per_image(record: Record, folder: Path) -> dict[str, dict[int, float]]:
    """Metric to image to number; empty where the record names no such file, or what it names is not one."""
    name = record.artifacts.get(IMAGES)
    lines = ((name and artifact_text(folder, name)) or "").splitlines()
    if not lines:
        return {}
    first, *names = lines[0].split(",")
    rows = [line.split(",") for line in lines[1:]]
    try:
        if first != "image" or any(len(row) != len(names) + 1 for row in rows):
            return {}
        return {metric: {int(row[0]): float(row[at]) for row in rows} for at, metric in enumerate(names, 1)}
    except ValueError:
        return {}


def paired(first: Record, second: Record, folder: Path) -> dict[str, Paired]:
    """Of each metric of one definition that both scored on the same images, by name. The resampling has a fixed seed.

    Args:
        folder: what the records' artifacts are relative to.
    """
    import numpy as np
    from scipy.stats import bootstrap

    one, two = per_image(first, folder), per_image(second, folder)
    found = {}
    for name in [name for name in one if name in two]:
        same = [record.metrics[name].version if name in record.metrics else None for record in (first, second)]
        if same[0] != same[1] or one[name].keys() != two[name].keys() or len(one[name]) < 2:
            continue
        difference = np.array([two[name][at] - value for at, value in one[name].items()])
        if not np.isfinite(difference).all():
            continue
        low = high = float(difference[0])
        if np.ptp(difference) > 0:
            interval = bootstrap(
                (difference,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=max(1, 10**7 // len(difference)),
                confidence_level=COVERAGE,
                method="percentile",
                rng=np.random.default_rng(0),
            ).confidence_interval
            low, high = float(interval.low), float(interval.high)
        found[name] = Paired(float(difference.mean()), low, high, len(difference))
    return found


def summary(first: Record, pairs: Mapping[str, Paired]) -> str:
    """In one line: ``better in PSNR, SSIM; undecided in LPIPS (alex)``."""
    by_verdict: dict[str, list[str]] = {}
    for name, pair in pairs.items():
        metric = first.metrics[name]
        by_verdict.setdefault(pair.verdict(metric.direction), []).append(metric.label)
    return "; ".join(f"{verdict} in {', '.join(labels)}" for verdict, labels in sorted(by_verdict.items()))
