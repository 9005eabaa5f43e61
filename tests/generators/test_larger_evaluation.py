"""Measuring a generator of patches by the whole images that a window draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_pipeline import saved

from tokbench.config.generator import GeneratorEvaluationConfig
from tokbench.data import open_images, to_float
from tokbench.errors import TokbenchError
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.record import rate_metrics
from tokbench.training import generator_evaluation
from tokbench.training.generator_evaluation import evaluate_generator


def test_codes_are_of_the_middles_and_drawn_images_are_whole(
    tmp_path: Path, rq_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    references: list[int] = []

    def takes_all(stream: Iterator[Any], **asked: Any) -> Any:
        seen.extend(tuple(batch.shape) for batch in stream)
        references.append(asked["reference"].image_size)
        return SimpleNamespace(metrics={}, warnings=[])

    monkeypatch.setattr(generator_evaluation, "evaluate_images", takes_all)
    pair = Pipeline.load(saved(tmp_path / "g", "ar", rq_folder))
    whole = open_images("photos", "eval", image_size=24, crop="cut", limit=5)
    config = GeneratorEvaluationConfig(size=24, samples=3, batch_size=2)
    found = evaluate_generator(pair, whole, config)
    assert seen == [(2, 3, 24, 24), (1, 3, 24, 24)] and references == [24]
    assert found.data.size == 24 and found.metrics["model_bpp"].version.startswith("cut/")

    middles = torch.stack([whole[k]["image"][:, 4:20, 4:20] for k in range(5)])
    other = rate_metrics(
        pair.generator, pair.tokenizer, pair.encode(to_float(middles)), image_size=16, protocol="own", batch_size=2
    )
    for name in ("nll_bits_per_code", "model_bpp", "fixed_bpp"):
        assert found.metrics[name].value == pytest.approx(other[name].value, rel=1e-5)


def test_what_no_window_slides_to_is_said_first(tmp_path: Path, rq_folder: Path) -> None:
    for name, size, said in (
        ("mlm", 32, "mlm fills in"),
        ("ar", 8, "fewer than the 4x4"),
        ("ar", 18, "not a multiple"),
    ):
        pair = Pipeline.load(saved(tmp_path / f"{name}{size}", name, rq_folder))
        with pytest.raises(TokbenchError, match=said):
            evaluate_generator(pair, None, GeneratorEvaluationConfig(size=size, samples=1))
