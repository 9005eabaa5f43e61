"""Aligned images by patches: a generator that is told where in its image each crop lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_tokenizers import make
from tiny_tokenizer import make_tokenizer
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.generator import GeneratorEvaluationConfig, GeneratorRecipe
from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError
from tokbench.generators.building import coordinates_of
from tokbench.generators.coordinates import coordinate_codes, coordinate_map
from tokbench.generators.pipeline import Pipeline
from tokbench.training.generator_evaluation import evaluate_generator
from tokbench.training.loop import train


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 images of 32x32 whose red is the place of a pixel among all, less some noise."""
    root = tmp_path_factory.mktemp("aligned")
    red = (coordinate_map(32, 32)[0, 0] * 255).to(torch.uint8)
    for k in range(16):
        other = torch.randint(256, (2, 32, 32), generator=torch.Generator().manual_seed(k), dtype=torch.uint8)
        Image.fromarray(torch.stack([red, *other], dim=-1).numpy()).save(root / f"{k:02d}.png")
    return root


@pytest.mark.parametrize("crop", ["random-cut", "random", "adm"])
def test_coordinates_are_cropped_and_mirrored_as_the_image(aligned: Path, crop: str) -> None:
    images = open_images(f"folder:train={aligned}", "train", image_size=16, crop=crop, flip=True, seed=1)
    images.give_coordinates()
    batch: Any = next(iter(loader(images, batch_size=16, shuffle=True, seed=0)))
    assert batch["coordinates"].shape == (16, 1, 16, 16) and batch["coordinates"].dtype == torch.float32
    assert float((batch["image"][:, 0] / 255 - batch["coordinates"][:, 0]).abs().max()) < (
        0.005 if "cut" in crop else 0.06
    )
    starts = {round(float(x), 4) for x in batch["coordinates"][:, 0, 0].min(dim=1).values}
    assert (len(starts) > 4) == (crop != "adm")


def test_a_generator_trains_on_patches_and_draws_the_whole(aligned: Path, tmp_path: Path) -> None:
    make_tokenizer({"name": "vq", "codebook_size": 16}).save_pretrained(tmp_path / "t")
    recipe = GeneratorRecipe.model_validate({
        "name": "places", "tokenizer": str(tmp_path / "t"), "condition": {"coordinates": 64, "dropout": 0.1},
        "data": {"source": f"folder:train={aligned},eval={aligned}", "image_size": 16, "crop": "random-cut"},
        "generator": {"name": "ar", "width": 16, "heads": 2, "layers": 1},
        "training": {"steps": 2, "batch_size": 4, "log_every": 1, "picture_every": 2, "checkpoint_every": 0},
    })  # fmt: skip
    train(recipe, tmp_path / "run", quiet=True)
    pair = Pipeline.load(tmp_path / "run" / "generator")
    config = pair.generator.config.conditioned_on
    assert config is not None and (config.shape, config.vocabulary, config.downsampling) == ((4, 4, 1), (64,), 4)

    images = open_images(f"folder:eval={aligned}", "eval", image_size=16, crop="cut")
    found = evaluate_generator(pair, images, GeneratorEvaluationConfig(metrics=[], samples=2))
    whole = coordinate_map(32, 32)
    middle = coordinate_codes(whole[..., 8:24, 8:24], 64, 4)
    assert torch.equal(found.coded.condition, middle.expand(16, -1, -1, -1))
    images = open_images(f"folder:eval={aligned}", "eval", image_size=32, crop="cut")
    found = evaluate_generator(pair, images, GeneratorEvaluationConfig(metrics=[], samples=2, size=32))
    assert torch.equal(found.coded.condition[:1], middle)

    told = ["--size", "32x32", "-n", "1", "--out", str(tmp_path / "o"), "--cpu"]
    drawn = CliRunner().invoke(app, ["generate", str(tmp_path / "run" / "generator"), *told])
    assert drawn.exit_code == 0, drawn.exception
    assert Image.open(tmp_path / "o" / "000000.png").size == (32, 32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"condition": {"coordinates": 64, "tokenizer": "t"}}, "give a tokenizer, or coordinates"),
        ({"condition": {}}, "give a tokenizer, or coordinates"),
        ({"data": {"source": "folder:a,depth=b"}}, "is of crops of images alone, and data.source has depth="),
        ({"data": {"source": "codes:a"}}, "is of crops of images alone, and data.source has codes"),
    ],
)
def test_recipes_that_do_not_go_together(change: dict[str, Any], said: str) -> None:
    whole = {"name": "x", "tokenizer": "t", "generator": {"name": "ar"}, "condition": {"coordinates": 64}, **change}
    with pytest.raises(ValueError, match=said):
        GeneratorRecipe.model_validate(whole)


def test_what_has_no_coordinates_is_one_line(aligned: Path) -> None:
    for source, crop in (("photos", None), (f"folder:train={aligned}", "taming")):
        with pytest.raises(TokbenchError, match="where crops lie is known of images in folders, archives and tables"):
            open_images(source, "train", image_size=16, crop=crop).give_coordinates()
    row = make("titok", {"name": "vq", "codebook_size": 8}, tokens=5)
    with pytest.raises(TokbenchError, match="condition.coordinates: t makes 5 codes of 16x16 pixels"):
        coordinates_of(row, 64, source="t", image_size=16)
