"""One run a folder: nobody trains beside it, and nothing of it is lost by --resume, damage or kill -9."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.training import checkpoint
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint, tidy
from tokbench.training.loop import train
from tokbench.training.run_folder import sole

Tiny = Callable[..., TokenizerRecipe]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_is_trained_in_by_one(tiny: Tiny, tmp_path: Path, resume: bool) -> None:
    out = tmp_path / "run"
    with sole(out, Accelerator(cpu=True)):
        before = sorted(out.iterdir())
        with pytest.raises(TokbenchError, match="another process is training there"):
            train(tiny(), out, resume=resume, quiet=True)
        assert sorted(out.iterdir()) == before
    assert not out.exists()


def test_a_finished_run_is_not_trained_anew(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("training.steps=3"), tmp_path, quiet=True)
    shutil.rmtree(tmp_path / "checkpoints")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(TokbenchError, match="--resume with another recipe: training.steps differ"):
        train(tiny("training.steps=4"), tmp_path, resume=True, quiet=True)
    with pytest.raises(TokbenchError, match="holds a tokenizer and no checkpoint"):
        train(tiny("training.steps=3"), tmp_path, resume=True, quiet=True)
    (tmp_path / "training.json").unlink()
    with pytest.raises(TokbenchError, match="holds a tokenizer and no checkpoint"):
        train(tiny("training.steps=3"), tmp_path, quiet=True)
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != "training.json")


def test_somebodys_recipe_is_not_written_over(tiny: Tiny, tmp_path: Path) -> None:
    mine = tmp_path / "recipe.yaml"
    for text in ("extends: demo  # mine\n", "{", "name: x\n"):
        mine.write_text(text)
        with pytest.raises(TokbenchError, match=r"recipe\.yaml: (there already|not a recipe)"):
            train(tiny(), tmp_path, quiet=True)
        assert mine.read_text() == text and list(tmp_path.iterdir()) == [mine]


def test_starting_over_is_said(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny("training.steps=3"), tmp_path, quiet=True)
    for gone in ("checkpoints", "tokenizer"):
        shutil.rmtree(tmp_path / gone)
    train(tiny("training.steps=3"), tmp_path, resume=True, quiet=True)
    assert "no checkpoint to continue from; starts over at step 0" in capsys.readouterr().out


def test_what_was_just_written_is_kept_before_a_newer_one_that_is_damaged(tmp_path: Path) -> None:
    for step in (1, 3):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    (tmp_path / "step-00000003" / "state.pt").write_bytes(b"damaged")
    save_checkpoint(tmp_path, 2, {"step": 2}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    assert load_checkpoint(tmp_path) == ({"step": 2}, [])


def test_killed_between_the_old_and_the_new_the_old_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 2, {"step": 2, "old": True}, keep=1)
    real, calls = os.replace, 0

    def killed(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, 2, {"step": 2, "old": False}, keep=1)
    assert load_checkpoint(tmp_path)[0] is None
    tidy(tmp_path)
    assert load_checkpoint(tmp_path) == ({"step": 2, "old": True}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_half_a_checkpoint_goes_when_the_run_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".step-00000004.4711.tmp"
    half.mkdir(parents=True)
    (half / "state.pt").write_bytes(b"half")
    train(tiny("training.steps=3"), tmp_path, quiet=True)
    assert not half.exists()


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)

    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint, "sha256_of", denied)
    with pytest.raises(TokbenchError, match=r"step-00000002/state\.pt: cannot be read: Permission denied"):
        load_checkpoint(tmp_path)
