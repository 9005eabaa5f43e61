"""Statistics of the originals, kept on disk: they depend on data, preprocessing and extractor, and on nothing else."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokbench.errors import TokbenchError
from tokbench.metrics.extractors import Extractor, extract
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.statistics import sum_over_processes
from tokbench.results.files import written
from tokbench.weights import cache_dir

_VERSION = 1


def path_of(dataset: Any, protocol: str, extractor: Extractor) -> Path:
    """Where the statistics belong: equal fingerprints (content, crop, size) and equal weights, equal place."""
    data = (dataset.fingerprint, len(dataset), dataset.image_size, protocol)
    key = "|".join(map(str, (_VERSION, *data, extractor.name, extractor.digest)))
    return cache_dir() / "statistics" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def load(dataset: Any, protocol: str, extractor: Extractor, capacity: int) -> FeatureStatistics | None:
    """What an earlier pass has kept, if it kept as many features as are needed now. A damaged file counts as none."""
    path = path_of(dataset, protocol, extractor)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: torch.from_numpy(file[key]) for key in ("n", "sum", "outer", "kept", "positions")}
    except Exception:  # a damaged archive fails in many ways, and each of them only means: look again
        return None
    n = int(arrays["n"])
    if n != len(dataset) or len(arrays["kept"]) < min(capacity, n) or arrays["sum"].shape != (extractor.dim,):
        return None
    statistics = FeatureStatistics(extractor.dim, capacity=capacity)
    statistics.load(arrays)
    if capacity:
        statistics._keep(arrays["kept"], arrays["positions"])
    return statistics


def load_everywhere(dataset: Any, protocol: str, extractor: Extractor, capacity: int) -> FeatureStatistics | None:
    """``load``, and None on every process unless all of them have it: else some would gather what others read."""
    known = load(dataset, protocol, extractor, capacity)
    missing = sum_over_processes(torch.tensor(int(known is None)))
    return None if int(missing) else known


def save(dataset: Any, protocol: str, extractor: Extractor, statistics: FeatureStatistics) -> None:
    """Keep complete statistics for the next run; a cache that cannot be written costs time, not the result."""
    if statistics.n != len(dataset):
        return
    state = {key: value.cpu().numpy() for key, value in statistics.tensors().items()}
    state |= {"kept": statistics.kept.numpy(), "positions": statistics.positions.numpy()}
    with contextlib.suppress(TokbenchError):
        write_npz(path_of(dataset, protocol, extractor), **state)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write the file whole or not at all."""
    with written(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def statistics_of(
    dataset: Any,
    protocol: str,
    extractors: Mapping[str, Extractor],
    capacity: Mapping[str, int],
    *,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, FeatureStatistics]:
    """Statistics of a whole data set in each space: from disk, else by one look at every image for all of them.

    Over several processes the images are divided. ``capacity``: features to keep, by the names of ``extractors``.
    """
    found, missing = {}, {}
    for name, extractor in extractors.items():
        if (known := load_everywhere(dataset, protocol, extractor, capacity[name])) is None:
            missing[name] = extractor
        found[name] = known or FeatureStatistics(extractor.dim, capacity=capacity[name])
    if not missing:
        return found
    from tokbench.metrics.batches import batches, place

    for images, positions in batches(dataset, batch_size, workers, *place(None)):
        for name, features in extract(missing, images).items():
            found[name].update(features, positions)
    for name, extractor in missing.items():
        found[name].all_reduce()
        save(dataset, protocol, extractor, found[name])
    return found
