"""Images drawn and completed as the page of explore asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.explore.drawing import asks_for, complete, draw, region_between, region_mask, usual_region, with_region
from tokbench.generators import Sampling, for_tokenizer
from tokbench.generators.pipeline import Pipeline
from tokbench.models import Tokenizer

LIKELIEST = Sampling(temperature=0.0)


def pair(name: str, tokenizer: Tokenizer, classes: int = 0) -> Pipeline:
    kind: Any = {"ar": ARConfig, "mlm": MLMConfig}[name]
    settings = kind(width=16, heads=2, layers=1, class_conditional=classes > 0)
    torch.manual_seed(0)
    made = for_tokenizer(settings, tokenizer, source="here", image_size=16, num_classes=classes)
    return Pipeline(made.eval(), tokenizer)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_drawing_is_that_of_the_command(rq_tokenizer: Tokenizer) -> None:
    models = pair("mlm", rq_tokenizer, classes=3)
    assert asks_for(models) == "class, 0 to 2"
    drawn = draw(models, 3, condition="1", seed=5, sampling=Sampling())
    images = models.stream(range(3), conditions=[1], seed=5, batch_size=3)
    wanted = [image for _, batch in images for image in batch]
    for shown, own in zip(drawn, wanted, strict=True):
        times = shown.width // 16
        assert np.array_equal(np.asarray(shown)[::times, ::times], own.permute(1, 2, 0).numpy())


def test_completing_keeps_all_but_the_region(rq_tokenizer: Tokenizer, image: Path) -> None:
    """Its codes are the image's outside of the region: those of an untouched half decode to the same image."""
    models = pair("mlm", rq_tokenizer)
    region = "1, 1, 2, 3"
    shown = np.asarray(with_region(models, image, region)).astype(int)
    whole = np.asarray(with_region(models, image, "0, 0, 0, 0")).astype(int)
    side = shown.shape[0] // 4
    faded = np.abs(shown - whole).sum(-1) > 0
    assert faded[side : 3 * side, side:].mean() > 0.9 and not faded[3 * side :].any()
    first, second = complete(models, image, region, 2, seed=1, sampling=Sampling())
    assert first.size == second.size == (384, 384) and first != second
    given = models.encode_file(image)
    seen: list[torch.Tensor] = []
    original = models.decode
    models.decode = lambda codes: seen.append(codes) or original(codes)  # type: ignore[method-assign, func-returns-value]
    complete(models, image, region, 2, sampling=LIKELIEST)
    kept = ~region_mask(region, (4, 4))
    assert torch.equal(seen[0][:, kept], given[:, kept].expand(2, -1, -1))


def test_what_a_generator_cannot_draw_is_one_line(rq_tokenizer: Tokenizer, image: Path) -> None:
    ar, mlm = pair("ar", rq_tokenizer), pair("mlm", rq_tokenizer, classes=3)
    assert len(complete(ar, image, usual_region(ar), 1, sampling=LIKELIEST)) == 1  # what comes last in raster order
    for call, said in (
        (lambda: complete(ar, image, "0, 0, 1, 1", 1, sampling=LIKELIEST), "keep the top"),
        (lambda: complete(ar, image.parent / "b.png", "2, 0, 3, 3", 1, sampling=LIKELIEST), "b.png: No such file"),
        (lambda: complete(ar, image, "0, 0, 3, 3", 1, sampling=LIKELIEST), "is the whole map"),
        (lambda: complete(ar, image, "2, 0, 4, 3", 1, sampling=LIKELIEST), "within 4x4"),
        (lambda: complete(ar, image, "3, 0, 2, 3", 1, sampling=LIKELIEST), "give top, left, bottom and right"),
        (lambda: draw(mlm, 1, condition="3", sampling=LIKELIEST), "class 3 does not exist"),
        (lambda: draw(mlm, 1, condition="cat", sampling=LIKELIEST), "class 'cat': give class numbers"),
        (lambda: draw(ar, 1, condition="0", sampling=LIKELIEST), "the generator is unconditional"),
        (lambda: draw(ar, 17, sampling=LIKELIEST), "images: a whole number from 1 to 16, not 17"),
        (lambda: draw(ar, 1, seed=-1, sampling=LIKELIEST), "seed: a whole number from 0"),
        (lambda: draw(ar, 1, sampling=Sampling(temperature=-1.0)), "temperature"),
    ):
        with pytest.raises(TokbenchError, match=said):
            call()


def test_a_region_is_between_two_corners_in_any_order() -> None:
    assert region_between((3, 1), (0, 2)) == region_between((0, 2), (3, 1)) == "0, 1, 3, 2"
    assert region_mask("0, 1, 3, 2", (4, 4)).sum() == 8
