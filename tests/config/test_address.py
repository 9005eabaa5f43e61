"""The content address: unmoved by a setting added to the schema, never the same for two runs that differ."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tokbench.config.address import address_settings, unlike_default, without_reporting
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.loading import load_recipe, recipe_names
from tokbench.config.model import VQGANConfig
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.config.training import TrainingConfig
from tokbench.results.environment import content_hash
from tokbench.results.store import Store

HERE = Path(__file__)
COMMITTED = HERE.resolve().parents[2] / "results" / "runs.jsonl"
PINNED = json.loads(HERE.with_name("addresses.json").read_text())


REPORTING = ("log_every", "picture_every", "checkpoint_every", "keep_checkpoints", "trackers", "workers")


class WiderTraining(TrainingConfig):
    swing: float = 0.5


class WiderVQGAN(VQGANConfig):
    steps_up: tuple[int, ...] = (1, 2)


class WiderRecipe(TokenizerRecipe):
    model: WiderVQGAN | VQGANConfig
    training: WiderTraining = WiderTraining()
    sparkle: WiderTraining | None = None


def test_a_setting_added_to_the_schema_moves_no_address_until_it_is_set() -> None:
    for name in ("demo", "vqgan-f16-1024"):
        plain = load_recipe(name)
        known = plain.resolved()
        wider = WiderRecipe.model_validate(known)
        assert "sparkle" in wider.resolved() and "swing" in wider.resolved()["training"]
        assert address_settings(wider) == address_settings(plain)
        for key, value in {"training": {**known["training"], "swing": 0.6}, "sparkle": {},
                           "model": {**known["model"], "steps_up": [1]}}.items():  # fmt: skip
            assert address_settings(WiderRecipe.model_validate({**known, key: value})) != address_settings(plain), key


def test_a_tag_is_never_left_out() -> None:
    models = [{"architecture": name} for name in ("vqgan", "rqvae", "llamagen", "magvit2", "vit")]
    found = [address_settings(tokenizer(model=model)) for model in models]
    assert [settings["model"] for settings in found] == models
    kinds = [unlike_default(recipe("generators/demo-ar", generator={"name": name})) for name in ("ar", "mlm")]
    assert [settings["generator"] for settings in kinds] == [{"name": "ar"}, {"name": "mlm"}]


def test_a_block_that_is_off_by_default_counts_when_it_is_on_with_its_defaults() -> None:
    off, on = tokenizer(), tokenizer(loss={"adversarial": {}})
    assert address_settings(off) != address_settings(on)
    other = tokenizer(loss={"adversarial": {"discriminator": {"name": "stylegan2"}}})
    assert address_settings(on) != address_settings(other)


def test_names_and_reporting_are_in_no_address() -> None:
    asked = {"training": {"log_every": 3, "picture_every": 0, "checkpoint_every": 7, "keep_checkpoints": 1},
             "data": {"workers": 4}}  # fmt: skip
    assert address_settings(tokenizer(**asked, name="mine", description="best")) == address_settings(tokenizer())


@pytest.mark.parametrize("name", [n for n in sorted(recipe_names()) if not n.startswith("claims/")])
def test_every_single_setting_changes_the_address(name: str) -> None:
    plain = load_recipe(name)
    seen = [address_settings(plain)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what stands there instead is of no right type
        for path, changed in altered(plain):
            found = address_settings(changed)  # type: ignore[arg-type]
            if path[-1] in REPORTING or path in (("name",), ("description",)):
                assert found == seen[0], path
            else:
                assert found not in seen, path
                seen.append(found)
    assert len(seen) > 20


def altered(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], BaseModel]]:
    """``model`` with one setting at any depth replaced by something it never was."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            for below, changed in altered(value, (*path, name)):
                yield below, model.model_copy(update={name: changed})
        else:
            yield (*path, name), model.model_copy(update={name: f"not {'.'.join((*path, name))}"})


CHOICES: dict[str, list[Any]] = {
    "seed": [0, 1],
    "start_from": [None, "other"],
    "data.source": ["photos", "folder:x"],
    "data.image_size": [64, 128],
    "data.crop": [None, "random", "adm"],
    "data.workers": [0, 2],
    "model.architecture": ["vqgan", "rqvae", "llamagen", "magvit2"],
    "model.channels": [128, 16],
    "model.blocks": [2, 4],
    "model.multipliers": [[1, 1, 2, 2, 4], [1, 1, 2, 2, 4, 4]],
    "quantizer.name": ["vq", "rq"],
    "quantizer.codebook_size": [None, 256],
    "loss.l1": [0.0, 1.0],
    "loss.perceptual.net": ["none", "vgg"],
    "loss.adversarial": [None, {}, {"weight": 0.8}, {"weight": 0.1}, {"discriminator": {"name": "stylegan2"}}],
    "training.steps": [10_000, 20_000],
    "training.log_every": [10, 50],
    "training.gradient_clip": [1.0, None],
    "training.betas": [[0.9, 0.99], [0.5, 0.9]],
    "evaluation.metrics": [None, [], ["psnr"]],
}
recipes = st.lists(st.sampled_from([(k, v) for k, values in CHOICES.items() for v in values]), max_size=12).map(dict)


@settings(max_examples=60, deadline=None)
@given(recipes, recipes)
def test_two_recipes_have_one_address_exactly_if_they_ask_for_the_same(one: dict, two: dict) -> None:
    first, second = (tokenizer(**nested(given)) for given in (one, two))
    same = without_reporting(first.resolved()) == without_reporting(second.resolved())
    assert (content_hash(address_settings(first)) == content_hash(address_settings(second))) == same
    back = TokenizerRecipe.model_validate({**address_settings(first), "name": "again"})  # nothing that decides is lost
    assert without_reporting(back.resolved()) == without_reporting(first.resolved())


@pytest.mark.parametrize("name", sorted(PINNED))
def test_published_defaults_stay_what_they_are(name: str) -> None:
    """These are recipes as records keep them, every setting of their day written out, with the address they had.

    A setting added since is at its default in them. Where this fails a default was changed, which gives other runs
    the addresses of these: set the new value in recipes/, or give the setting a new name.
    """
    recipe = validated(PINNED[name]["recipe"])
    assert content_hash(address_settings(recipe)) == PINNED[name]["address"]


def test_committed_records_have_the_addresses_of_their_recipes() -> None:
    records = [r for r in Store(COMMITTED).read() if r.kind == "tokenizer" and r.recipe and r.experiment]
    assert records
    for record in records:
        found = address_settings(validated(record.recipe))
        assert record.cell == content_hash(found)
        assert record.experiment == content_hash({k: v for k, v in found.items() if k != "seed"})


def tokenizer(**given: Any) -> TokenizerRecipe:
    base = {"name": "x", "model": {"architecture": "vqgan"}, "quantizer": {"name": "vq"}}
    return TokenizerRecipe.model_validate(base | given)


def recipe(name: str, **given: Any) -> Recipe:
    return validated(load_recipe(name).resolved() | given)


def validated(resolved: dict[str, Any]) -> Recipe:
    return (GeneratorRecipe if resolved["kind"] == "generator" else TokenizerRecipe).model_validate(resolved)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"model": {"architecture": "vqgan"}, "quantizer": {"name": "vq"}}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        block = found
        for part in path:
            block = block.setdefault(part, {})
        block[leaf] = value
    return found
