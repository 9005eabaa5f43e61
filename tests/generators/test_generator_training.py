"""Stage 2 through the one loop: it learns, it resumes to the bit, and it says what is wrong with a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_tokenizer import make_tokenizer

from tokbench.codes.encoding import write_codes
from tokbench.codes.header import CodeHeader
from tokbench.codes.writer import CodeWriter
from tokbench.config.generator import GeneratorRecipe
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.training.checks import check_recipe
from tokbench.training.loop import TrainingResult, make_accelerator, train

Recipes = Callable[..., GeneratorRecipe]
TINY = {"width": 16, "heads": 2, "layers": 1}


@pytest.fixture
def recipe(rq_folder: Path) -> Recipes:
    def make(generator: dict[str, Any], source: str = "photos", **training: Any) -> GeneratorRecipe:
        quiet = {"batch_size": 8, "log_every": 2, "picture_every": 0, "checkpoint_every": 0, "learning_rate": 1e-3}
        return GeneratorRecipe.model_validate(
            {
                "name": "test",
                "tokenizer": str(rq_folder),
                "data": {"source": source, "image_size": 16, "limit": 64, "eval_limit": 16},
                "generator": generator,
                "training": {"steps": 6, **quiet, **training},
            }
        )

    return make


def run(recipe: GeneratorRecipe, out: Path, **settings: Any) -> TrainingResult:
    return train(recipe, out, accelerator=make_accelerator(recipe, cpu=True), quiet=True, **settings)


def cache_of(folder: Path, tokenizer: Tokenizer, n: int, latents: bool = False) -> torch.Tensor:
    """Random codes of n images, each a class of its own, as both splits."""
    torch.manual_seed(0)
    codes = torch.randint(16, (n, 4, 4, 2))
    for split in ("train", "eval"):
        header = CodeHeader(
            tokenizer="made", tokenizer_sha256=tokenizer.sha256(), codebook_sizes=(16, 16), shape=(4, 4, 2),
            image_size=16, source="made", split=split, preprocessing="", fingerprint="",
            classes=tuple(map(str, range(n))),
        )  # fmt: skip
        with CodeWriter(folder / split, header) as writer:
            writer.add(codes, torch.arange(n))
    return codes


OVERFIT = {
    "ar": {"name": "ar", "width": 64, "heads": 2, "layers": 2, "depth_layers": 1},
    "mlm": {"name": "mlm", "width": 64, "heads": 2, "layers": 2, "label_smoothing": 0.0},
    "pixelsnail": {"name": "pixelsnail", "width": 64, "hidden": 32, "kernel": 3, "blocks": 2, "layers": 1, "heads": 2},
}


@pytest.mark.parametrize(
    ("name", "steps"), [("ar", 110), ("mlm", 190), pytest.param("pixelsnail", 200, marks=pytest.mark.slow)]
)
def test_overfits_32_images_and_draws_them(
    recipe: Recipes, rq_tokenizer: Tokenizer, tmp_path: Path, name: str, steps: int
) -> None:
    """Under 0.1 bit a code on 32 images, each with its own class, and every one of them comes out again."""
    codes = cache_of(tmp_path / "cache", rq_tokenizer, 32)
    settings = {**OVERFIT[name], "class_conditional": True, "class_dropout": 0.0, "dropout": 0.0}
    made = recipe(
        settings, f"codes:{tmp_path / 'cache'}", steps=steps, batch_size=32, learning_rate=5e-3, warmup_steps=10,
        ema_decay=0.0,
    )  # fmt: skip
    result = run(made, tmp_path / "run")
    kind = "bound_bits" if name == "mlm" else "bits"
    assert result.last[f"train_{kind}_per_code"] < 0.1
    assert result.last[f"train_{kind}_per_pixel"] == pytest.approx(result.last[f"train_{kind}_per_code"] * 32 / 256)
    generator = Generator.from_pretrained(result.product)
    drawn = generator.generate(32, condition=list(range(32)), temperature=0.0, choice_temperature=0.0, steps=8)
    assert torch.equal(drawn, codes)
    drawn = generator.generate(32, condition=list(range(32)), seed=1, steps=8)
    assert float((drawn == codes).float().mean()) > 0.9


@pytest.mark.slow
def test_without_classes_64_images_cost_6_bits_each(recipe: Recipes, rq_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """No model of 64 equally likely images can do better than log2(64) bits; what it draws are these images."""
    codes = cache_of(tmp_path / "cache", rq_tokenizer, 64)
    settings = {"steps": 500, "batch_size": 64, "learning_rate": 3e-3, "warmup_steps": 50, "ema_decay": 0.0}
    result = run(recipe(OVERFIT["ar"], f"codes:{tmp_path / 'cache'}", **settings), tmp_path / "run")
    bits = result.last["train_bits_per_code"] * 32
    assert 6.0 <= bits < 6.5
    drawn = Generator.from_pretrained(result.product).generate(64, seed=0)
    wrong = (drawn[:, None] != codes[None]).flatten(2).float().mean(-1).amin(1)
    assert float((wrong == 0).float().mean()) > 0.7


@pytest.mark.parametrize(
    "generator",
    [
        {"name": "ar", **TINY, "depth_layers": 1, "dropout": 0.1, "soft_targets": 0.5, "stochastic_codes": 0.5},
        {"name": "mlm", **TINY, "dropout": 0.1},
    ],
)
def test_resume_is_exact_to_the_bit(recipe: Recipes, tmp_path: Path, generator: dict[str, Any]) -> None:
    made = recipe(generator)
    whole = run(made, tmp_path / "whole")
    half = run(made, tmp_path / "parts", stop_at=3)
    assert not half.finished and not half.product.exists()
    run(made, tmp_path / "parts", resume=True)
    one, two = (load_file(tmp_path / name / "generator" / "model.safetensors") for name in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert whole.finished


def test_codes_from_a_cache_and_from_images_train_alike(
    recipe: Recipes, rq_tokenizer: Tokenizer, rq_folder: Path, tmp_path: Path
) -> None:
    """The held-out bits of equal weights are equal, whether the codes were stored or computed."""
    for split in ("train", "eval"):
        images = open_images("photos", split, image_size=16, limit=16)
        write_codes(rq_tokenizer, images, tmp_path / "cache" / split, source=str(rq_folder))
    settings = {"name": "ar", **TINY, "depth_layers": 1}
    stored = run(recipe(settings, f"codes:{tmp_path / 'cache'}", steps=1, learning_rate=1e-9), tmp_path / "a")
    computed = run(recipe(settings, steps=1, learning_rate=1e-9), tmp_path / "b")
    key = "held_out_bits_per_code"
    assert stored.last[key] == pytest.approx(computed.last[key], rel=1e-4)


def test_latents_from_a_cache_give_soft_targets(
    recipe: Recipes, rq_tokenizer: Tokenizer, rq_folder: Path, tmp_path: Path
) -> None:
    for split in ("train", "eval"):
        images = open_images("photos", split, image_size=16, limit=16)
        write_codes(rq_tokenizer, images, tmp_path / "cache" / split, source=str(rq_folder), latents=True)
    settings = {"name": "ar", **TINY, "depth_layers": 1}
    losses = []
    for extra in ({}, {"soft_targets": 0.5}, {"soft_targets": 1e-6}, {"soft_targets": 0.5, "stochastic_codes": 0.5}):
        made = recipe({**settings, **extra}, f"codes:{tmp_path / 'cache'}", steps=1, learning_rate=1e-9)
        losses.append(run(made, tmp_path / f"r{len(losses)}").last["loss"])
    # Targets at no temperature are the codes themselves (up to float16, in which latents are stored).
    assert losses[2] == pytest.approx(losses[0], rel=1e-3)
    assert len({round(loss, 6) for loss in (losses[0], losses[1], losses[3])}) == 3


def test_flipped_bits_are_drawn_alike_from_images_and_from_a_cache(recipe: Recipes, tmp_path: Path) -> None:
    """What is read has mistakes, what is measured has none."""
    tokenizer = make_tokenizer({"name": "ms-rq", "quantizer": "bsq", "bits": 6, "quant_resi": 0.0})
    tokenizer.save_pretrained(tmp_path / "pyramid")
    for split in ("train", "eval"):
        images = open_images("photos", split, image_size=16, limit=16)
        write_codes(tokenizer, images, tmp_path / "cache" / split, source="here", latents=True)
    found = []
    for extra, source in (
        ({}, "photos"),
        ({"bit_flips": 0.5}, "photos"),
        ({"bit_flips": 0.5}, f"codes:{tmp_path}/cache"),
    ):
        made = recipe({"name": "var", **TINY, **extra}, source, steps=1, learning_rate=1e-9)
        made = made.model_copy(update={"tokenizer": str(tmp_path / "pyramid")})
        made = made.model_copy(update={"data": made.data.model_copy(update={"limit": 16})})
        found.append(run(made, tmp_path / f"r{len(found)}").last)
    clean, flipped, cached = found
    assert flipped["loss"] != pytest.approx(clean["loss"], rel=1e-4)
    assert cached["loss"] == pytest.approx(flipped["loss"], rel=1e-3)  # latents are stored as float16
    key = "held_out_bits_per_code"
    assert flipped[key] == pytest.approx(clean[key], rel=1e-5) == cached[key]


def test_training_bits_are_of_the_nearest_codes_whatever_is_trained_on(recipe: Recipes, tmp_path: Path) -> None:
    settings = {"name": "ar", **TINY, "depth_layers": 1}
    found = []
    for i, extra in enumerate(({}, {"stochastic_codes": 10.0})):
        made = recipe({**settings, **extra}, steps=1, learning_rate=1e-9)
        found.append(run(made, tmp_path / f"r{i}").last["train_bits_per_code"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)  # of codes drawn at this temperature it would be another


def test_the_log_has_train_and_held_out_bits_and_the_pictures_are_there(recipe: Recipes, tmp_path: Path) -> None:
    result = run(recipe({"name": "mlm", **TINY, "input": "bits"}, picture_every=3), tmp_path / "r")
    log = (tmp_path / "r" / "log.jsonl").read_text()
    assert "held_out_bound_bits_per_code" in log and "train_bound_bits_per_pixel" in log
    assert len(list((tmp_path / "r" / "pictures").iterdir())) == 2
    assert Generator.from_pretrained(result.product).config.tokenizer is not None


def test_what_does_not_go_together_is_said_before_training(
    recipe: Recipes, rq_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    ar = {"name": "ar", **TINY}
    with pytest.raises(TokbenchError, match="no class labels"):
        run(recipe({**ar, "class_conditional": True}), tmp_path / "a")
    with pytest.raises(TokbenchError, match="no code cache there"):
        run(recipe(ar, "codes:nowhere"), tmp_path / "a")
    with pytest.raises(TokbenchError, match="depth_layers is 0, but the codes have depth 2"):
        run(recipe({**ar, "depth_layers": 0}), tmp_path / "a")
    cache_of(tmp_path / "cache", rq_tokenizer, 8)
    source = f"codes:{tmp_path / 'cache'}"
    with pytest.raises(TokbenchError, match="holds no latents"):
        run(recipe({**ar, "soft_targets": 0.5}, source), tmp_path / "a")
    larger = recipe(ar, source).model_copy(
        update={"data": recipe(ar, source).data.model_copy(update={"image_size": 32})}
    )
    with pytest.raises(TokbenchError, match=r"set data.image_size=16"):
        run(larger, tmp_path / "a")
    with pytest.raises(TokbenchError, match="no such folder"):
        run(recipe(ar).model_copy(update={"tokenizer": str(tmp_path / "none")}), tmp_path / "a")


def test_another_tokenizers_cache_is_refused(recipe: Recipes, tmp_path: Path, rq_tokenizer: Tokenizer) -> None:
    from tiny_tokenizer import make_tokenizer

    cache_of(tmp_path / "cache", make_tokenizer({"name": "rq", "codebook_size": 16, "depth": 2}, seed=9), 8)
    with pytest.raises(TokbenchError, match="codes of another tokenizer"):
        run(recipe({"name": "ar", **TINY}, f"codes:{tmp_path / 'cache'}"), tmp_path / "a")


def test_parameters_are_counted_without_weights(recipe: Recipes, tmp_path: Path) -> None:
    made = recipe({"name": "ar", **TINY, "input": "learned"}, steps=1)
    result = run(made, tmp_path / "a")
    generator = Generator.from_pretrained(result.product)
    assert check_recipe(made) == sum(p.numel() for p in generator.parameters())
    # Without the tokenizer only the blocks are known: 12 C^2 + 13 C a layer.
    absent = made.model_copy(update={"tokenizer": str(tmp_path / "none")})
    assert check_recipe(absent) == (1 + 2) * (12 * 16**2 + 13 * 16)
