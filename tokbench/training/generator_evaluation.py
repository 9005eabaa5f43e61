"""Measuring a finished generator: what its codes cost, and its images against real ones."""

from __future__ import annotations

import collections
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.config.generator import GeneratorEvaluationConfig, GeneratorRecipe
from tokbench.config.kind import SHOWN
from tokbench.config.yaml_files import read_yaml
from tokbench.data import loader
from tokbench.errors import TokbenchError
from tokbench.generators import Sampling
from tokbench.generators.judges import Judge
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.record import held_out_codes, rate_metrics
from tokbench.generators.rejection import Candidates, Quota, Rejection, check_classes, judge_for
from tokbench.generators.text_judge import TextJudge
from tokbench.metrics import get
from tokbench.metrics.chd import CodebookHistogramDistance
from tokbench.metrics.generated import evaluate_images
from tokbench.metrics.retrieval import MOST, NAME, Retrieval
from tokbench.metrics.statistics import CodeHistogram
from tokbench.results.record import DataRef, MetricValue


@dataclass
class CodedRate:
    """What the codes of held-out images cost a generator, their conditions (n, ...) and captions, and how often each
    code occurs."""

    metrics: dict[str, MetricValue]
    condition: Tensor
    texts: tuple[str, ...]
    histogram: CodeHistogram
    data: DataRef
    seconds: float


@dataclass
class GeneratorEvaluation:
    """What was found, on what, and how long it took."""

    metrics: dict[str, MetricValue]
    data: DataRef
    timing: dict[str, Any]
    warnings: list[str]
    coded: CodedRate


def evaluate_generator(
    pair: Pipeline,
    images: Any,
    config: GeneratorEvaluationConfig,
    *,
    seed: int = 0,
    protocol: str | None = None,
    reference: Path | None = None,
    candidates: Path | None = None,
    coded: CodedRate | None = None,
    train_images: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> GeneratorEvaluation:
    """Measure a generator on held-out images (``tokbench.data.open_images``).

    The model-coded rate is of these images' codes; the images drawn, ``config.samples`` of them with their classes, or
    the conditions of these images (clips' first frames, codes, captions), in turn, are compared with these images by
    the metrics of generated images; those of captions also each with its own (``tokbench.metrics.retrieval``).

    Args:
        images: of the generator's size, or of ``config.size``.
        reference: a file of statistics (``.npz`` with mu and sigma) to compare with in place of these images.
        candidates: a folder that keeps what ``config.reject`` drew and judged, for other rates; empty: nothing is kept.
        coded: what an earlier call found of these images, which no setting of drawing changes.
        train_images: how many images it was trained on, where that is known: for the ``entropy_cliff``.
        progress: called with what is being done and the fraction of it that is.

    Raises:
        TokbenchError: an unknown metric, or sampling that does not go with the generator.
    """
    kind, of = pair.generator.condition, pair.tokenizer.config.kind
    if of != "image" and config.metrics:
        wanted = ", ".join(config.metrics)
        raise TokbenchError(f"evaluation.metrics: {wanted}: of images, and {SHOWN[of]} are drawn: leave them out")
    if config.guidance != 1.0:
        kind.check_guidance(kind.usual)
    pair.generator.check_sampling(Sampling(**config.sampling))
    pair.slide(config.size)
    judge = _judge(pair, config)
    if pair.condition_tokenizer is not None:
        images.label_count = pair.condition_tokenizer.config.channels  # a mask with others is skipped and named
    coded = coded or _coded(pair, images, config, protocol, train_images)
    with _rejecting(pair, judge, config, coded, candidates) as rejection:
        return _measured(pair, images, config, seed, protocol, reference, rejection, coded, progress)


def _coded(
    pair: Pipeline, images: Any, config: GeneratorEvaluationConfig, protocol: str | None, train_images: int | None
) -> CodedRate:
    start, batch_size = time.perf_counter(), config.batch_size
    part = pair.image_size if config.size is not None else None
    codes, condition, data, texts = held_out_codes(
        pair.tokenizer,
        images,
        pair.generator.condition,
        batch_size=batch_size,
        partners=pair.condition_codes,
        size=part,
    )
    measured = protocol or data.protocol
    metrics = rate_metrics(
        pair.generator,
        pair.tokenizer,
        codes,
        condition,
        image_size=pair.image_size,
        protocol=measured if part is None or measured == "cut" else f"{measured}-cut",
        batch_size=batch_size,
        train_images=train_images,
    )
    if part is not None and pair.condition_tokenizer is not None:
        batches = loader(images, batch_size=batch_size, shuffle=False, seed=0)
        condition = torch.cat([pair.condition_codes(cast(Any, batch)["partner"]).cpu() for batch in batches])
    return CodedRate(metrics, condition, texts, _counted(pair, codes), data, time.perf_counter() - start)


def _counted(pair: Pipeline, codes: Tensor | None = None) -> CodeHistogram:
    """How often each of the tokenizer's codes is among generator codes (n, *grid, D); empty without."""
    histogram = CodeHistogram(list(pair.tokenizer.quantizer.codebook_sizes))
    if codes is not None:
        histogram.update(_stored(pair, codes))
    return histogram


def _stored(pair: Pipeline, codes: Tensor) -> Tensor:
    """Generator codes (n, *grid, D) as the tokenizer's, without those that a condition gives."""
    quantizer: Any = pair.tokenizer.quantizer
    joined: Tensor = quantizer.join(codes.cpu())
    return joined[:, pair.generator.config.given :]


def _measured(
    pair: Pipeline,
    images: Any,
    config: GeneratorEvaluationConfig,
    seed: int,
    protocol: str | None,
    reference: Path | None,
    rejection: Rejection | None,
    coded: CodedRate,
    progress: Callable[[str, float], None] | None,
) -> GeneratorEvaluation:
    sampling, kind, of = Sampling(**config.sampling), pair.generator.condition, pair.tokenizer.config.kind
    metrics, condition, data = dict(coded.metrics), coded.condition, coded.data
    retrieval = _retrieval(images, seed)
    distance = next((m for m in map(get, config.metrics or ()) if isinstance(m, CodebookHistogramDistance)), None)
    counted = _counted(pair)
    start, drawing = time.perf_counter(), 0.0

    def drawn() -> Iterator[Tensor]:
        nonlocal drawing
        settings: dict[str, Any] = {"seed": seed, "sampling": sampling, "batch_size": config.batch_size}
        settings["size"] = config.size
        settings["progress"] = None if progress is None else lambda done: progress("drawing", done)
        begun = time.perf_counter()
        if rejection is not None:
            collections.deque(rejection.draw(**settings), maxlen=0)
            batches = rejection.images(range(config.samples), config.batch_size)
        else:
            # Of classes all; of coordinates those of the whole, or of crops where these are drawn.
            whole = len(kind.usual) and (config.size is not None or not kind.config.map)
            conditions = None if whole else condition
            batches = _counting(pair, counted, pair.codes(range(config.samples), conditions=conditions, **settings))
        for numbers, batch in batches:
            drawing += time.perf_counter() - begun
            if retrieval is not None:
                retrieval.update([number % len(condition) for number in numbers], batch)
            yield batch
            begun = time.perf_counter()

    stream = drawn()
    wanted = None if config.metrics is None else [m for m in config.metrics if get(m) is not distance]
    found = evaluate_images(
        stream,
        reference=reference or images,
        metrics=wanted if of == "image" else [],
        count=config.samples,
        batch_size=config.batch_size,
        device=pair.generator.device,
        protocol=protocol,
    )
    if retrieval is not None:
        while not retrieval.enough and next(stream, None) is not None:
            pass  # drawn although no other metric asked for it
        metrics[NAME] = retrieval.value(protocol or data.protocol)
        found.warnings.append(retrieval.summary())
    if distance is not None:
        collections.deque(stream, maxlen=0)  # where no other metric asked for all of them
        if rejection is None:
            metrics[distance.name] = distance.between(coded.histogram, counted, protocol or data.protocol)
        else:
            why = f"{distance.label} is of codes, and of images that a judge chose only the pixels are kept"
            metrics[distance.name] = distance.result(None, 0, protocol or data.protocol, note=why)
    took = time.perf_counter() - start
    seconds = {"rate": coded.seconds, "drawing": drawing, "images": took, "seconds": coded.seconds + took}
    timing: dict[str, Any] = {name: round(value, 3) for name, value in seconds.items()}
    timing["batch_size"] = config.batch_size
    if rejection is not None and (cost := rejection.cost()):
        timing["rejection"] = cost
    return GeneratorEvaluation({**metrics, **found.metrics}, data, timing, found.warnings, coded)


def _counting(
    pair: Pipeline, counted: CodeHistogram, drawn: Iterator[tuple[list[int], Tensor, Tensor]]
) -> Iterator[tuple[list[int], Tensor]]:
    """The images of drawn codes, as ``Pipeline.stream`` has them; the codes are counted."""
    for numbers, places, codes in drawn:
        counted.update(_stored(pair, codes[places.to(codes.device)]))
        yield numbers, pair.decode(codes)[places]


def _judge(pair: Pipeline, config: GeneratorEvaluationConfig) -> Judge | None:
    """What ``config.reject`` ranks by; what is wrong with it is said before anything is measured."""
    if config.reject is None or config.judge is None:
        return None
    judge = judge_for(pair, config.judge)
    if not isinstance(judge, TextJudge):
        Quota(config.samples, config.reject, check_classes(pair)).check()
    return judge


@contextmanager
def _rejecting(
    pair: Pipeline, judge: Judge | None, config: GeneratorEvaluationConfig, coded: CodedRate, folder: Path | None
) -> Iterator[Rejection | None]:
    """What ``config.reject`` asks for, of the classes or of the held-out captions in turn; its candidates in the folder
    or, for the time being, in one of its own."""
    if config.reject is None or judge is None:
        yield None
        return
    texts = coded.texts[: config.samples]
    ids = coded.condition[: len(texts)] if texts else None
    with tempfile.TemporaryDirectory(prefix="tokbench-") as scratch:
        kept = Candidates(folder or Path(scratch))
        yield Rejection(pair, judge, kept, config.samples, config.reject, texts=texts, ids=ids)


def _retrieval(images: Any, seed: int) -> Retrieval | None:
    """Of images that were asked for their captions; None for others, and for fewer than it chooses among."""
    captions = getattr(images, "captions", None)
    if captions is None or not Retrieval.possible(captions[:MOST]):
        return None
    pixels = torch.stack([images.sample(k)["image"] for k in range(min(len(captions), MOST))])
    return Retrieval(pixels, captions[:MOST], seed)


def recipe_of(generator: Path) -> GeneratorRecipe | None:
    """The recipe of the run that a generator's folder lies in; None where there is none."""
    try:
        return GeneratorRecipe.model_validate(read_yaml(generator.resolve().parent / "recipe.yaml"))
    except (OSError, TokbenchError, ValidationError):
        return None


def frames_of(recipe: GeneratorRecipe | None) -> tuple[int, float | None]:
    """Stride and rate of the clips that a generator was trained on; as they come where there is no recipe."""
    return (recipe.data.stride, recipe.data.fps) if recipe else (1, None)
