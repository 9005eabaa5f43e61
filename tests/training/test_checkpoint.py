"""Checkpoints: whole or not there, verified when read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.training import checkpoint
from tokbench.training.checkpoint import load_checkpoint, newest_step, save_checkpoint


def state(step: int) -> dict:
    return {"step": step, "weights": {"w": torch.full((64,), float(step))}, "names": ["a", None, 1.5]}


def test_round_trip_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30, 4):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000030"]
    loaded, problems = load_checkpoint(tmp_path)
    assert not problems and loaded is not None
    assert loaded["step"] == 30 and torch.equal(loaded["weights"]["w"], torch.full((64,), 30.0))
    assert newest_step(tmp_path) == 30


@pytest.mark.parametrize("damage", ["cut", "flip", "manifest", "gone"])
def test_an_older_checkpoint_is_used_when_the_newest_is_damaged(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, state(step), keep=3)
    file = tmp_path / "step-00000002" / "state.pt"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "manifest":
        (file.parent / "manifest.json").write_text("{")
    else:
        file.unlink()
    loaded, problems = load_checkpoint(tmp_path)
    assert loaded is not None and loaded["step"] == 1
    assert len(problems) == 1 and "step-00000002" in problems[0]


def test_a_checkpoint_of_another_format_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, state(step), keep=3)
    file = tmp_path / "step-00000002" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(TokbenchError, match="step-00000002: a checkpoint of format 2; this tokbench reads format 1"):
        load_checkpoint(tmp_path)
    del manifest["format"]  # as tokbench wrote it before
    file.write_text(json.dumps(manifest))
    assert load_checkpoint(tmp_path)[0]["step"] == 2  # type: ignore[index]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, state(1), keep=1)

    def full(obj: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(TokbenchError, match="No space left on device; the checkpoint of step 1 is intact"):
        save_checkpoint(tmp_path, 2, state(2), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path)[0]["step"] == 1  # type: ignore[index]


def test_an_interrupted_write_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".step-00000009.123.tmp").mkdir()
    assert newest_step(tmp_path) is None
    assert load_checkpoint(tmp_path) == (None, [])


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    save_checkpoint(tmp_path, 1, {"step": 1, "x": Evil()}, keep=1)
    loaded, problems = load_checkpoint(tmp_path)
    assert loaded is None and len(problems) == 1
    assert not (tmp_path / "ran").exists()
