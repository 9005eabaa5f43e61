"""Several tokenizers on the same images, one record each; those that were measured so before are not measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokbench.config.crop import PROTOCOLS
from tokbench.config.grid import Size
from tokbench.config.model import TokenizerConfig
from tokbench.data import ImageDataset, open_images
from tokbench.errors import TokbenchError, size_text
from tokbench.memory import ELSEWHERE, is_out_of_memory, memory_line
from tokbench.metrics.evaluation import Evaluation, evaluate_tokenizer
from tokbench.metrics.protocol import check_protocol
from tokbench.metrics.record import evaluation_cell, evaluation_record, saved_weights, with_images
from tokbench.metrics.registry import by_name, default_metrics
from tokbench.models import Tokenizer
from tokbench.models.folder import KINDS
from tokbench.models.tokenizer import chosen_size
from tokbench.results.record import Record
from tokbench.results.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """How all of them are measured. ``size``: None is each tokenizer's own; ``metrics``: None is all that work."""

    data: str
    split: str = "eval"
    size: Size | None = None
    protocol: str = "tokbench-v1"
    limit: int | None = None
    metrics: Sequence[str] | None = None
    batch_size: int = 64
    workers: int = 0
    device: str = "cpu"
    stride: int = 1
    fps: float | None = None


def measured(
    sources: Sequence[str], request: Request, store: Store, *, progress: Callable[[str, int, int], None], say: Say
) -> Iterator[tuple[str, Record | TokbenchError]]:
    """Each source with its record, which is in ``store`` or yet to be put there, or with why it has none.

    Args:
        sources: folders, published names, hub repositories.
        progress: called with (source, images done, images in all).
        say: is told what was there already and which batches were too large.
    """
    for source, name in zip(sources, names(sources), strict=True):
        try:
            yield source, _one(source, name, request, store, progress, say)
        except TokbenchError as error:
            yield source, error


def names(sources: Sequence[str]) -> list[str]:
    """What to call each: the end of its path, with as many folders before it as tell it from the others'. The tokenizer
    of a run goes by the run's name."""
    found = [Path(source).resolve() for source in sources]
    paths = [(path.parent if path.name == KINDS[TokenizerConfig] else path).parts for path in found]

    def name(parts: tuple[str, ...]) -> str:
        ends = range(1, len(parts) + 1)
        alone = (n for n in ends if sum(other[-n:] == parts[-n:] for other in paths) == 1)
        return "/".join(parts[-next(alone, 1) :])

    return [name(parts) for parts in paths]


def _one(
    source: str, name: str, request: Request, store: Store, progress: Callable[[str, int, int], None], say: Say
) -> Record:
    model = Tokenizer.from_pretrained(source)
    size = chosen_size(model, request.size, "--size", single=True)
    config = model.config
    crop = PROTOCOLS.get(request.protocol).crop
    shape: Any = {"image_size": size, "channels": config.channels, "kind": config.kind, "crop": crop}
    shape |= {"stride": request.stride, "fps": request.fps}
    dataset = open_images(request.data, request.split, limit=request.limit, **shape)  # type: ignore[arg-type]
    metrics = list(request.metrics) if request.metrics else default_metrics(size, kind=config.kind, source=request.data)
    protocol = check_protocol(request.protocol, dataset)
    versions = {name: metric.result(None, 0, protocol).version for name, metric in by_name(metrics).items()}
    known = store.find(evaluation_cell(model, dataset.fingerprint, protocol, False, versions))
    if known is not None:
        say(f"{source}: measured already ({known.id})")
        unnamed = known.name == Path(source).resolve().name  # nobody chose another name for it
        return known.replace(name=name) if unnamed else known
    found = _in_smaller_batches(
        model.to(request.device),
        dataset,
        request,
        metrics,
        lambda done, total: progress(source, done, total),
        say,
        source,
    )
    record = evaluation_record(
        found,
        model,
        dataset.fingerprint,
        by_depth=False,
        name=name,
        weights_which=saved_weights(model.home or source),
    )
    return with_images(record, found, store.path.parent)


def _in_smaller_batches(
    model: Tokenizer,
    dataset: ImageDataset,
    request: Request,
    metrics: Sequence[str],
    progress: Callable[[int, int], None],
    say: Say,
    source: str,
) -> Evaluation:
    """The evaluation, again with half as many images at a time where memory ended. TokbenchError where one is too
    many."""
    batch = request.batch_size
    while True:
        try:
            return evaluate_tokenizer(
                model,
                dataset,
                metrics=metrics,
                batch_size=batch,
                protocol=request.protocol,
                by_depth=False,
                workers=request.workers,
                progress=progress,
            )
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            if batch == 1:
                doing = f"measuring one image of {size_text(dataset.image_size)}"
                line = memory_line(error, doing, ("a smaller --size", *ELSEWHERE))
                raise TokbenchError(f"{source}: {line}") from error
        batch //= 2
        say(f"{source}: out of memory; goes on with {batch} at a time")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
