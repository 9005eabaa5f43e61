"""Generated images against real ones: gFID and its company, from a folder, a generator's batches, or both sides."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.config.grid import Size, axes
from tokbench.errors import TokbenchError, size_text
from tokbench.metrics.base import DistributionMetric, Metric, ScoreMetric, check_uint8
from tokbench.metrics.batches import batches, place
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.protocol import check_protocol
from tokbench.metrics.registry import by_name, default_metrics, get, names
from tokbench.metrics.spaces import FeatureSpaces
from tokbench.results.record import MetricValue


@dataclass
class ImagesEvaluation:
    """What the metrics of generated images found."""

    metrics: dict[str, MetricValue]
    n: int
    timing: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


@torch.inference_mode()
def evaluate_images(
    images: Any,
    *,
    reference: Any,
    metrics: Sequence[str] | None = None,
    count: int | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    protocol: str | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    accelerator: Any = None,
) -> ImagesEvaluation:
    """Measure generated images against a reference.

    Args:
        images: a ``tokbench.data.ImageDataset``, or batches of uint8 (B, C, S, S) of which ``count`` come in all;
            over several processes each gives its own share.
        reference: an ``ImageDataset``, or an ``.npz`` file of statistics with ``mu`` and ``sigma`` (ADM's layout),
            which carries a Fréchet distance and nothing that needs the features themselves.
        metrics: names from ``tokbench.metrics.names("generation")``; by default those that can be computed here.
        protocol: as in ``evaluate_tokenizer``; for a statistics file the name under which it was made.

    Raises:
        TokbenchError: an unknown metric, images that are not uint8 or not of the reference's size, a statistics file
            that is none.
    """
    start = time.perf_counter()
    rank, world = place(accelerator)
    from_file = isinstance(reference, str | Path)
    protocol = (protocol or "unstated") if from_file else check_protocol(protocol, reference)
    is_dataset = hasattr(images, "fingerprint")
    total = len(images) if is_dataset else count
    if total is None:
        raise TokbenchError("evaluate_images: batches need count=, the number of images over all processes")
    size = images.image_size if is_dataset else None if from_file else reference.image_size
    wanted = _wanted(metrics, size)
    reasons = {name: reason for name, metric in wanted.items() if (reason := metric.unavailable(size))}
    if not from_file:
        for name, metric in wanted.items():
            if isinstance(metric, DistributionMetric) and (reason := metric.wrong_sets(total, reference)):
                reasons.setdefault(name, reason)
    if from_file:
        for name, metric in wanted.items():
            if isinstance(metric, DistributionMetric) and metric.reservoir and name != "fid_infinity":
                reasons.setdefault(name, f"{metric.label} needs the reference's features; {reference} has mu and sigma")
    usable = [metric for name, metric in wanted.items() if name not in reasons]
    spaces = FeatureSpaces(usable, [1], torch.device(device), total, None if from_file else len(reference))
    if from_file:
        for name in spaces.capacity:
            spaces.references[name, "same"] = read_statistics(Path(reference), spaces.extractors[name].dim)
    else:
        spaces.read_reference("same", reference, protocol)

    done = 0
    source = batches(images, batch_size, workers, rank, world) if is_dataset else _numbered(images, rank, world)
    for batch, positions in source if spaces.metrics else ():  # drawing costs time: not for metrics without a value
        check_uint8("evaluate_images", batch)
        if not from_file and tuple(batch.shape[2:]) != axes(reference.image_size):
            raise TokbenchError(
                f"the images are {size_text(batch.shape[2:])} and the reference {size_text(reference.image_size)}: "
                "a distance between sizes measures the resizing; open the reference at the images' size"
            )
        if not from_file and batch.shape[1] != reference.view.channels:
            raise TokbenchError(
                f"the images have {batch.shape[1]} channels and the reference {reference.view.channels}: a distance "
                f"between them measures the colours; open the reference with channels={batch.shape[1]}"
            )
        if int(positions[-1]) >= total:
            raise TokbenchError(f"evaluate_images: more than count={total} images came")
        spaces.update_sample(1, batch.to(device), positions)
        done += len(batch)
        if progress is not None:
            progress(min(done * world, total), total)
    spaces.all_reduce()
    values = {
        name: metric.result(None, 0, protocol, note=reasons[name])
        if name in reasons
        else spaces.value(metric, protocol, paired=False)
        for name, metric in wanted.items()
    }
    n = max((s.n for s in [*spaces.samples.values(), *spaces.scores.values()]), default=0)
    seconds = round(time.perf_counter() - start, 3)
    return ImagesEvaluation(
        values, n, {"seconds": seconds, "batch_size": batch_size, "processes": world}, spaces.warnings
    )


def read_statistics(path: Path, dim: int) -> FeatureStatistics:
    """A statistics file with ``mu`` (dim,) and ``sigma`` (dim, dim), as ADM and clean-fid publish them.

    How many images made it is not in the file, so it is not checked for full rank.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, cov = torch.from_numpy(file["mu"]).double(), torch.from_numpy(file["sigma"]).double()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise TokbenchError(f"{path}: cannot be read as statistics ({error})") from None
    except KeyError as missing:
        raise TokbenchError(f"{path}: has no {missing}; a statistics file has mu and sigma") from None
    if mean.shape != (dim,) or cov.shape != (dim, dim):
        raise TokbenchError(
            f"{path}: mu {tuple(mean.shape)} and sigma {tuple(cov.shape)}; these features have {dim} dimensions"
        )
    if not (mean.isfinite().all() and cov.isfinite().all()):
        raise TokbenchError(f"{path}: mu or sigma has values that are not finite")
    return KnownStatistics(mean, cov)


class KnownStatistics(FeatureStatistics):
    """Mean and covariance from a file: of unknown n, and with nothing to add to."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__(len(mean))
        self._mean, self._covariance = mean, covariance
        self.n = -1

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def covariance(self) -> Tensor:
        return self._covariance


def save_statistics(path: Path, statistics: FeatureStatistics) -> None:
    """Write ``mu`` and ``sigma`` in ADM's layout (float64), for other programs to compare with."""
    from tokbench.metrics.reference_cache import write_npz

    write_npz(path, mu=statistics.mean.numpy(), sigma=statistics.covariance.numpy())


def _wanted(metrics: Sequence[str] | None, size: Size | None) -> dict[str, Metric]:
    chosen = list(metrics) if metrics is not None else default_metrics(size, "generation")
    for name in chosen:
        if not _of_images(name):
            those = ", ".join(filter(_of_images, names("generation")))
            raise TokbenchError(f"{name!r} does not measure generated images; those that do: {those}")
    return by_name(chosen)


def _of_images(name: str) -> bool:
    """Whether the metric looks at generated images, and not at their codes."""
    return "generation" in get(name).tasks and isinstance(get(name), DistributionMetric | ScoreMetric)


def _numbered(images: Iterable[Tensor], rank: int, world: int) -> Iterator[tuple[Tensor, Tensor]]:
    done = 0
    for batch in images:
        positions = (done + torch.arange(len(batch))) * world + rank
        done += len(batch)
        yield batch, positions
