"""A whole run with a discriminator: when it starts, what it logs, that it resumes to the same bits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tokbench.config.loading import load_recipe, recipe_names
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.training.checkpoint import load_checkpoint
from tokbench.training.checks import check_recipe
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]

GAN = (
    "loss.adversarial={start: 3, warmup: 2, ramp: 2, lecam: 0.1, r1: 1.0, r1_every: 2, augment: [color, cutout], "
    "discriminator: {name: patchgan, channels: 8, layers: 2, norm: batch, spectral_norm: true}}"
)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state(folder: Path) -> dict:
    found, problems = load_checkpoint(folder / "checkpoints")
    assert found is not None and not problems
    return found["task"]


def same(one: object, two: object) -> bool:
    """Bit-equal, however deep."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(two, list | tuple) and len(one) == len(two) and all(map(same, one, two))
    return one == two


@pytest.mark.parametrize(
    "settings",
    [
        (),
        # Accumulated it is in the default run too: test_log_resumed.
        pytest.param(
            ("training.gradient_accumulation=2", "loss.adversarial.weighting=adaptive"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("quantizer={name: lfq, codebook_size: 16}", "loss.adversarial.loss=non-saturating"), marks=pytest.mark.slow
        ),
    ],
    ids=["rq", "accumulated", "lfq"],
)
def test_interrupted_in_the_gan_phase_and_resumed_is_bit_equal(
    tiny: Tiny, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    recipe = tiny(GAN, *settings)
    train(recipe, tmp_path / "whole", quiet=True)
    for stop in (4, 9):  # while only the discriminator trains, and when both do
        assert not train(recipe, tmp_path / "parts", stop_at=stop, resume=stop > 4, quiet=True).finished
    assert train(recipe, tmp_path / "parts", resume=True, quiet=True).finished
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole["adversary"]["objective"]["lecam.real"] != 0  # there is something to lose
    for key in whole:
        assert same(whole[key], parts[key]), key
    one, two = log(tmp_path / "whole"), log(tmp_path / "parts")
    assert one[-1]["step"] == two[-1]["step"] == 12


def test_the_switch_on_is_counted_in_autoencoder_steps(tiny: Tiny, tmp_path: Path) -> None:
    quiet_gan = GAN.replace("augment: [color, cutout]", "augment: []")  # draws no numbers the plain run does not
    recipe = tiny(quiet_gan, "training.log_every=1")
    train(recipe, tmp_path / "gan", quiet=True)
    lines = {line["step"]: line for line in log(tmp_path / "gan")}
    assert "discriminator" not in lines[3] and "discriminator" in lines[4]
    assert "lambda" not in lines[5] and "lambda" in lines[6]
    assert [s for s in lines if "r1" in lines[s]] == [4, 6, 8, 10, 12]
    for step, share in ((6, 1 / 3), (7, 2 / 3), (8, 1), (12, 1)):
        line = lines[step]
        assert line["adversarial"] == pytest.approx(0.8 * share * line["lambda"] * line["generator"], rel=1e-4)
        assert line["loss"] == pytest.approx(
            line["nll"] + recipe.loss.quantizer_weight * line["quantizer"] + line["adversarial"], rel=1e-4
        )


def test_until_its_gradient_counts_the_autoencoder_does_not_notice_the_discriminator(
    tiny: Tiny, tmp_path: Path
) -> None:
    quiet_gan = GAN.replace("augment: [color, cutout]", "augment: []")
    settings = ("quantizer={name: fsq, levels: [5, 5]}",)
    train(tiny(*settings), tmp_path / "plain", quiet=True, stop_at=5)
    train(tiny(quiet_gan, *settings), tmp_path / "gan", quiet=True, stop_at=5)
    plain, gan = state(tmp_path / "plain"), state(tmp_path / "gan")
    assert same(plain["tokenizer"], gan["tokenizer"]) and same(plain["optimizer"], gan["optimizer"])


def test_every_term_is_logged_by_name_and_finite(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(GAN), tmp_path / "run", quiet=True)
    last = log(tmp_path / "run")[-1]
    names = "nll l1 l2 quantizer commitment generator lambda adversarial discriminator accuracy_real accuracy_fake "
    names += "logits_real logits_fake lecam r1 gradient_norm discriminator_gradient_norm usage"
    assert not set(names.split()) - set(last)
    assert all(math.isfinite(value) for value in last.values())
    assert last["gradient_norm"] > 0 and last["discriminator_gradient_norm"] > 0


def test_a_discriminator_too_deep_for_the_pictures_is_refused_before_training(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny("loss.adversarial={discriminator: {name: patchgan, layers: 4}}")
    with pytest.raises(TokbenchError, match="loss.adversarial.discriminator.layers 4: .*16 pixels; at most 2 fit"):
        train(recipe, tmp_path / "run", quiet=True)


def test_a_recipe_is_checked_with_its_discriminator(tiny: Tiny) -> None:
    deep = tiny("loss.adversarial={discriminator: {name: patchgan, layers: 4, spectral_norm: true}}")
    with pytest.raises(TokbenchError, match="mine.yaml: loss.adversarial.discriminator.layers 4"):
        check_recipe(deep, "mine.yaml")
    settings = "loss.adversarial={discriminator: {name: patchgan, layers: 2, spectral_norm: true}}"
    assert check_recipe(tiny(settings)) == check_recipe(tiny())  # what is saved has no discriminator


def test_lookup_free_recipes_anneal_their_entropy() -> None:
    recipes = [load_recipe(name) for name in recipe_names() if "lfq" in name or "magvit2" in name]
    recipes = [recipe for recipe in recipes if isinstance(recipe, TokenizerRecipe)]
    assert len(recipes) >= 6
    for recipe in recipes:
        if recipe.name == "open-magvit2-video":  # which its authors train without
            continue
        options = recipe.quantizer.options
        assert (options["entropy_anneal_scale"], options["entropy_anneal_steps"]) == (3.0, 2000), recipe.name
