"""Recipes: what is read, merged and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokbench.config.loading import draft_recipe, load_recipe, merge, recipe_names
from tokbench.errors import TokbenchError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_every_shipped_recipe_is_valid(name: str) -> None:
    from tokbench.training.checks import check_recipe

    recipe = load_recipe(name)
    assert check_recipe(recipe) > 0
    assert recipe.description


@pytest.mark.parametrize(
    "name",
    ["", ".", "../demo", "generators/../demo", "./demo", "/demo", "generators//demo-ar", "generators", "x" * 252],
)
def test_a_recipe_has_one_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TokbenchError, match=r"^[^\n]*: no such recipe[^\n]*; a file's path works too$"):
        load_recipe(name)


@pytest.mark.parametrize("folder", ["sweeps", "claims"])
def test_a_grid_is_no_recipe(folder: str) -> None:
    (path, *_) = (Path(__file__).parents[2] / "recipes" / folder).glob("*.yaml")
    with pytest.raises(TokbenchError, match="no such recipe"):
        load_recipe(f"{folder}/{path.stem}")
    assert load_recipe("claims/base/cpu").name and f"{folder}/{path.stem}" not in recipe_names()


def test_what_is_done_to_a_recipe_is_not_in_the_next(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "extends: demo\nmodel: {multipliers: [1, 2]}\n")
    draft_recipe(path).values["model"]["multipliers"].append(4)
    assert draft_recipe(path).values["model"]["multipliers"] == [1, 2]
    write(tmp_path / "r.yaml", "extends: demo\nmodel: {multipliers: [1, 1]}\n")
    assert draft_recipe(path).values["model"]["multipliers"] == [1, 1]


def test_override_wins_and_order_does_not_matter() -> None:
    one = load_recipe("demo", ["quantizer.codebook_size=64", "quantizer.name=lfq"])
    two = load_recipe("demo", ["quantizer.name=lfq", "quantizer.codebook_size=64"])
    assert one == two
    assert one.quantizer.model_dump() == {"name": "lfq", "codebook_size": 64}


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "extends: demo\nquantizer: {commitment_weight: 1e-2}\n")
    assert draft_recipe(path).values["quantizer"]["commitment_weight"] == 0.01
    assert load_recipe("demo", ["training.learning_rate=3e-4"]).training.learning_rate == 3e-4


def test_a_block_that_changes_its_kind_is_replaced() -> None:
    base = {"quantizer": {"name": "rq", "depth": 4}, "data": {"flip": True}}
    merged = merge(base, {"quantizer": {"name": "lfq", "codebook_size": 16}, "data": {"image_size": 32}})
    assert merged == {"quantizer": {"name": "lfq", "codebook_size": 16}, "data": {"flip": True, "image_size": 32}}


def test_the_name_is_the_files_own(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path / "mine.yaml", "extends: demo\n")).name == "mine"
    assert load_recipe(write(tmp_path / "b.yaml", "extends: demo\nname: ours\n")).name == "ours"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: demo\ntraining: {step: 3}\n", ["training.step", "unknown key", "'steps'"]),
        ("extends: demo\nmodel: {chanels: 3}\n", ["model.chanels", "'channels'"]),
        ("extends: demo\ntraining: {steps: many}\n", ["training.steps", "'many'"]),
        ("extends: demo\ndata: {image_size: 65}\n", ["image_size 65", "downsampling 4", "64, 68"]),
        ("extends: demo\ntraining: {steps: 5, warmup_steps: 9}\n", ["warmup_steps 9"]),
        ("extends: demo\nseed: 1\nseed: 2\n", ["'seed' is given twice", "line 3"]),
        ("extends: nowhere\n", ["nowhere", "no such recipe"]),
        ("extends: demo\nmodel: {architecture: vqgann}\n", ["model", "vqgann", "'vqgan'"]),
        ("kind: movie\n", ["kind", "'movie'"]),
        ("- 1\n", ["list"]),
        ("a: [1\n", ["not valid YAML"]),
        ("\x00", ["not valid YAML"]),
    ],
)
def test_mistakes_name_file_key_and_what_was_meant(tmp_path: Path, text: str, said: list[str]) -> None:
    path = write(tmp_path / "mine.yaml", text)
    with pytest.raises(TokbenchError) as error:
        load_recipe(path)
    assert str(error.value).startswith(path), error.value
    for part in said:
        assert part in str(error.value), error.value
    assert len(str(error.value).splitlines()) == 1


def test_a_mistake_in_set_names_the_option() -> None:
    with pytest.raises(TokbenchError, match=r"--set training\.step=3: training\.step: unknown key .*'steps'"):
        load_recipe("demo", ["training.step=3"])
    with pytest.raises(TokbenchError, match="expected key=value"):
        load_recipe("demo", ["training.steps"])


def test_extending_in_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b\n")
    write(tmp_path / "b.yaml", "extends: a\n")
    with pytest.raises(TokbenchError, match="extends itself"):
        load_recipe(str(tmp_path / "a.yaml"))


def test_a_mistake_in_the_parent_names_the_parent(tmp_path: Path) -> None:
    parent = write(tmp_path / "parent.yaml", "extends: demo\ntraining: {stepps: 3}\n")
    child = write(tmp_path / "child.yaml", "extends: parent\nseed: 3\n")
    with pytest.raises(TokbenchError) as error:
        load_recipe(child)
    assert str(error.value).startswith(parent)


@pytest.mark.parametrize("word", ["base", "extend", "inherits", "parent"])
def test_what_is_meant_as_extends_is_said_in_one_line(tmp_path: Path, word: str) -> None:
    path = write(tmp_path / "r.yaml", f"{word}: demo\ntraining: {{stepz: 3}}\n")
    with pytest.raises(TokbenchError, match=f"{word}: unknown key.*extends: NAME") as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
