"""One pass over the images, all metrics: encode, decode every depth, round to uint8, measure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokbench.config.grid import Size, pixels
from tokbench.config.kind import Kind
from tokbench.data.base import measured_on
from tokbench.errors import TokbenchError
from tokbench.memory import reset_peak
from tokbench.metrics.altered import Alterations
from tokbench.metrics.base import CodeMetric, Metric, PairMetric, Pairs, check_uint8
from tokbench.metrics.batches import batches, place
from tokbench.metrics.clock import Clock
from tokbench.metrics.per_image import PerImage
from tokbench.metrics.protocol import check_protocol
from tokbench.metrics.registry import wanted_metrics
from tokbench.metrics.spaces import FeatureSpaces
from tokbench.metrics.statistics import CodeHistogram, Mean, sum_over_processes, union_over_processes
from tokbench.models.one_frame import for_samples
from tokbench.models.prefixes import Prefix
from tokbench.results.record import DataRef, MetricValue, Rate


@dataclass
class Evaluation:
    """What one pass found. ``histogram`` holds, per depth, how often each code was used (int64 tensors); ``per_image``
    is a CSV of what each image scored, empty where no metric says."""

    metrics: dict[str, MetricValue]
    rate: Rate
    data: DataRef
    timing: dict[str, Any]
    histogram: list[Tensor]
    per_image: str = ""
    warnings: list[str] = field(default_factory=list)


@torch.inference_mode()
def evaluate_tokenizer(
    tokenizer: Any,
    dataset: Any,
    *,
    metrics: Sequence[str] | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    protocol: str | None = None,
    by_depth: bool = True,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    accelerator: Any = None,
    train_dataset: Any = None,
) -> Evaluation:
    """Measure how well ``tokenizer`` reconstructs ``dataset`` and what its codes cost.

    Args:
        tokenizer: ``encode`` (images in [-1, 1] -> codes (B, *grid, D)), ``prefixes()`` of them, which ``decode``
            takes, ``rate(size)`` and ``quantizer.codebook_sizes``. Measured in float32 and in eval mode. To one of
            videos an image is a clip of one frame.
        dataset: a ``tokbench.data.ImageDataset``; what cannot be read is left out and counted.
        metrics: names from ``tokbench.metrics.names("reconstruction")``; by default all that can be computed here.
            A metric that was asked for and cannot be computed has the value None and says why.
        protocol: a name of ``tokbench.data.PROTOCOLS``; goes into every version. By default the data set's own; a
            protocol with another crop than the data set's is an error.
        by_depth: also decode and measure each of ``prefixes()``: the first 1, 2, ... D - 1 codes of every position, or
            the parts of codes whose positions refine (``Rate.prefixes``); of codes without depth there are none.
        progress: called with (images done, images in all) after every batch.
        accelerator: an ``accelerate.Accelerator``; the images are divided over its processes and the statistics
            added up exactly, whether or not the count divides.
        train_dataset: the reference of the metrics against training images (``rfid_train``).

    Reconstructions are rounded to uint8 before every metric. Those with NaN or infinite pixels are counted, and every
    metric that compares images then has no value.
    """
    start = time.perf_counter()
    rank, world = place(accelerator)
    device = torch.device(device or (accelerator.device if accelerator is not None else _device_of(tokenizer)))
    image_size: Size = dataset.image_size
    protocol = check_protocol(protocol, dataset)
    wanted = wanted_metrics(metrics, image_size, kind_of(dataset), dataset.source)
    tokenizer = for_samples(tokenizer, image_size)
    rate = Rate(**tokenizer.rate(image_size))
    parts = tokenizer.prefixes()[0 if by_depth else -1 :]

    was_training = tokenizer.training
    tokenizer.to(device).eval()
    reset_peak(device)
    try:
        run = _Pass(wanted, rate, parts, device, dataset, protocol, train_dataset)
        total = len(dataset)

        def mine() -> Iterator[tuple[Tensor, Tensor]]:
            return batches(dataset, batch_size, workers, rank, world)

        run.begin(tokenizer, mine)
        for images, positions in mine():
            run.step(tokenizer, images, positions)
            if progress is not None:
                progress(min(run.seen * world, total), total)
        values = run.finish()
    finally:
        tokenizer.train(was_training)
    n = run.histogram.n
    return Evaluation(
        metrics=values,
        rate=rate,
        histogram=run.histogram.counts,
        per_image="" if run.broken else run.per_image.csv(),
        warnings=run.warnings,
        data=measured_on(
            dataset, n, size=image_size, protocol=protocol, skipped=len(union_over_processes(dataset.skipped))
        ),
        timing={
            "seconds": round(time.perf_counter() - start, 3),
            **run.clock.summary(),
            "batch_size": batch_size,
            "processes": world,
        },
    )


def kind_of(dataset: Any) -> Kind:
    """What a data set's samples are; images where it does not say."""
    kind: Kind = getattr(getattr(dataset, "view", None), "kind", "image")
    return kind


class _Pass:
    """The running state of one pass over the images."""

    def __init__(
        self,
        metrics: dict[str, Metric],
        rate: Rate,
        parts: list[Prefix],
        device: torch.device,
        dataset: Any,
        protocol: str,
        train_dataset: Any,
    ) -> None:
        self.metrics, self.parts, self.device = metrics, parts, device
        self.depths = depths = list(range(1, len(parts) + 1))
        self.dataset, self.protocol, self.kind = dataset, protocol, kind_of(dataset)
        self.channels = dataset.view.channels if self.kind == "labels" else 3  # of images nothing depends on it
        size = dataset.image_size
        reasons = {name: metric.no_value(size, self.kind, dataset.source) for name, metric in metrics.items()}
        self.reasons = {name: reason for name, reason in reasons.items() if reason is not None}
        for name, metric in metrics.items():
            if getattr(metric, "reference_split", "same") == "train" and train_dataset is None:
                self.reasons.setdefault(name, f"{metric.label} compares with training images, and none were given")
        usable = [metric for name, metric in metrics.items() if name not in self.reasons]
        self.pairs = [metric for metric in usable if isinstance(metric, PairMetric)]
        self.means = {(m.name, depth): m.statistics(self.channels) for m in self.pairs for depth in depths}
        self.per_image = PerImage(m.name for m in self.pairs if isinstance(self.means[m.name, depths[-1]], Mean))
        self.histogram = CodeHistogram(
            rate.codebook_sizes, math.prod(rate.tokens[:-1]), pixels(size), prefixes=rate.prefixes
        )
        self.spaces = FeatureSpaces(usable, depths, device, len(dataset))
        self.spaces.expect_reference(dataset, protocol)
        if train_dataset is not None:
            self.spaces.read_reference("train", train_dataset, protocol)
        self.altered = Alterations(usable)
        self.compares = bool(self.pairs or self.spaces.metrics)
        self.seen, self.broken = 0, 0
        self.clock = Clock(device)
        self.warnings: list[str] = []

    def begin(self, tokenizer: Any, images: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """What metrics of altered codes must know of all ``images`` before the first is measured."""
        self.reasons |= self.altered.begin(
            tokenizer, lambda: ((self._given(batch.to(self.device)), positions) for batch, positions in images())
        )

    def _given(self, images: Tensor) -> Tensor:
        """As the model takes them."""
        from tokbench.data.maps import to_model

        return to_model(images, self.kind, self.channels)

    def step(self, tokenizer: Any, images: Tensor, positions: Tensor) -> None:
        from tokbench.data.maps import to_samples

        if self.kind == "image":
            check_uint8("evaluate", images, "the data set's images")
        images = images.to(self.device)
        with self.clock.lap("encode", len(images)):
            latents, codes = self.altered.encode(tokenizer, self._given(images))
        self.histogram.update(codes)
        self.seen += len(images)
        if not self.compares:
            return
        finite = torch.ones(len(images), dtype=torch.bool, device=self.device)
        for which, own in self._stacks(latents, codes, positions):
            with self.clock.lap("decode" if which == self.depths[-1] else "decode others", len(images)):
                decoded = tokenizer.decode(own)
            good = decoded.isfinite().flatten(1).all(1)
            made = to_samples(decoded, self.kind)
            if made.shape != images.shape:
                raise TokbenchError(
                    f"reconstructions are {tuple(made.shape)} where the images are {tuple(images.shape)}: "
                    "the decoder must give back the size that the encoder was given"
                )
            finite &= good
            if bool(good.all()):  # else no metric of this pass will have a value
                with self.clock.lap("metrics", len(images)):
                    self._measure(which, images, made, positions)
        self.broken += int((~finite).sum())
        with self.clock.lap("metrics", 0):
            self.spaces.update_reference(images, positions)

    def _stacks(self, latents: Tensor | None, codes: Tensor, positions: Tensor) -> Iterator[tuple[Hashable, Tensor]]:
        """What is decoded of a batch: each part of its codes, by depth, and the codes that metrics alter."""
        yield from ((depth, part.of(codes)) for depth, part in enumerate(self.parts, 1))
        yield from self.altered.codes(latents, codes, positions)

    def _measure(self, which: Hashable, images: Tensor, decoded: Tensor, positions: Tensor) -> None:
        self.spaces.update_sample(which, decoded, positions)
        if which not in self.depths:
            return
        truth = [self.dataset.truth(k) for k in positions.tolist()] if any(m.source for m in self.pairs) else ()
        pairs = Pairs(images, decoded, truth)
        found = {metric.name: metric.update(self.means[metric.name, which], pairs) for metric in self.pairs}
        if which == self.depths[-1]:
            self.per_image.update(positions, {name: values for name, values in found.items() if values is not None})

    def finish(self) -> dict[str, MetricValue]:
        self.histogram.all_reduce()
        for mean in self.means.values():
            mean.all_reduce()
        self.per_image.all_reduce()
        self.broken = int(sum_over_processes(torch.tensor(self.broken)))
        self.spaces.all_reduce(self.dataset, self.protocol)
        n = self.histogram.n
        if not n:
            raise TokbenchError("the data set has no images to evaluate on")
        if self.broken:
            self.warnings.append(f"{self.broken} of {n} reconstructions have NaN or infinite pixels")
        values = {name: self._value(metric, n) for name, metric in self.metrics.items()}
        self.warnings += self.spaces.warnings
        return values

    def _value(self, metric: Metric, n: int) -> MetricValue:
        if metric.name in self.reasons:
            return metric.result(None, 0, self.protocol, note=self.reasons[metric.name])
        if isinstance(metric, CodeMetric):
            return self._code_value(metric, n)
        if self.broken:
            note = f"{self.broken} of {n} reconstructions have NaN or infinite pixels"
            return metric.result(None, n, self.protocol, note=note)
        if isinstance(metric, PairMetric):
            means = [self.means[metric.name, depth] for depth in self.depths]
            by_depth = [mean.value() for mean in means] if len(means) > 1 else None
            last = means[-1]
            extra: dict[str, Any] = last.beside()
            return metric.result(last.value(), n, self.protocol, stderr=last.stderr(), by_depth=by_depth, **extra)
        return self.spaces.value(metric, self.protocol, paired=True)

    def _code_value(self, metric: CodeMetric, n: int) -> MetricValue:
        per_depth, parts = metric.per_depth(self.histogram), self.histogram.parts
        codes, entries = self.histogram.codes, max(self.histogram.codebook_sizes)
        note = f"only {codes} positions for a codebook of {entries}" if codes < entries else None
        return metric.result(
            metric.total(per_depth, self.histogram),
            n,
            self.protocol,
            by_depth=[metric.total(metric.per_depth(part), part) for part in parts] if parts else per_depth,
            note=note,
            positions=codes,
        )


def _device_of(tokenizer: Any) -> torch.device:
    parameter = next(iter(tokenizer.parameters()), None)
    return parameter.device if parameter is not None else torch.device("cpu")
