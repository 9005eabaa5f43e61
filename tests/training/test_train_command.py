"""``tokbench train``: what is refused before training, and whose fault it is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_tiny import TINY
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.training.run_folder import claim

SETS = [part for setting in (*TINY, "quantizer.codebook_size=16") for part in ("--set", setting)]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", "demo", *SETS, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dry_run_opens_the_data(tmp_path: Path) -> None:
    said = run("--dry-run", "--set", "training.gradient_accumulation=2")
    assert "photos: 64 training and 8 held-out samples" in said
    assert "8 images an optimizer step" in said and "2 micro-batches" in said.replace("\n", " ")
    with pytest.raises(TokbenchError, match=f"{tmp_path / 'nowhere'}"):
        run("--dry-run", "--set", f"data.source=folder:{tmp_path / 'nowhere'}")
    with pytest.raises(TokbenchError, match="4 training and 8 held-out samples; training needs at least 8"):
        run("--dry-run", "--set", "data.limit=4")
    assert "not opened" in run("--dry-run", "--set", "data.source=hub:someone/something")


def test_a_clash_is_blamed_on_the_settings_that_clash(tmp_path: Path) -> None:
    def blamed(*overrides: str) -> str:
        with pytest.raises(TokbenchError) as error:
            load_recipe("demo", overrides)
        return str(error.value).partition(": ")[0]

    assert blamed("training.steps=5", "training.log_every=3") == "--set training.steps=5"
    both = blamed("training.steps=5", "training.warmup_steps=9", "seed=3")
    assert both == "--set training.steps=5, --set training.warmup_steps=9"
    assert blamed("data.image_size=65", "data.limit=9") == "--set data.image_size=65"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: demo\ntraining: {steps: 5, warmup_steps: 9}\n")
    with pytest.raises(TokbenchError) as error:
        load_recipe(str(recipe), ["data.limit=9"])
    assert str(error.value).startswith(f"{recipe}: ")
    with pytest.raises(TokbenchError, match=r"^--set quantizer.name=lfq, --set quantizer.codebook_size=100: "):
        run("--dry-run", "--set", "quantizer.name=lfq", "--set", "quantizer.codebook_size=100")


def test_options_are_settings_and_named_when_wrong(tmp_path: Path) -> None:
    assert "on_nan: skip" in run("--dry-run", "--on-nan", "skip")
    with pytest.raises(TokbenchError, match="^--on-nan jump: training.on_nan: .*'stop' or 'skip'"):
        run("--dry-run", "--on-nan", "jump")
    with pytest.raises(TokbenchError, match="--tracker tensorbord: .*'tensorboard' or 'wandb'"):
        run("--dry-run", "--tracker", "tensorbord")


def test_the_last_line_says_how_fast_it_was(tmp_path: Path) -> None:
    said = run("--cpu", "--out", str(tmp_path / "run"), "--set", "training.steps=4").replace("\n", " ")
    assert "steps/s" in said and "MFU -" in said and "peak memory" in said


def test_a_run_of_an_earlier_version_goes_on_and_guards_may_change(tmp_path: Path) -> None:
    recipe = load_recipe("demo", TINY)
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    import yaml

    old = recipe.resolved()
    for key in ("on_nan", "nan_limit", "trackers"):  # keys that it did not have
        del old["training"][key]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(old))
    assert claim(tmp_path, recipe, resume=True, main=False)
    guarded = load_recipe("demo", [*TINY, "training.on_nan=skip", "training.log_every=3"])
    assert claim(tmp_path, guarded, resume=True, main=False)
    with pytest.raises(TokbenchError, match="another recipe: training.batch_size differ"):
        claim(tmp_path, load_recipe("demo", [*TINY, "training.batch_size=16"]), resume=True, main=False)
