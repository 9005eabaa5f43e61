"""A run that is refused before it begins leaves the disk as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokbench.training.run_folder import remove_on_failure


def claimed(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text("name: x\n")


def refuse(out: Path, main: bool = True) -> None:
    with pytest.raises(RuntimeError), remove_on_failure(out, main):
        claimed(out)
        raise RuntimeError


def test_new_folders_go_again(tmp_path: Path) -> None:
    refuse(tmp_path / "runs" / "demo")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").write_text("")
    refuse(tmp_path / "runs" / "demo")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]
    claimed(tmp_path / "old")
    refuse(tmp_path / "old")
    assert (tmp_path / "old" / "recipe.yaml").exists()


def test_other_processes_leave_it_to_the_first(tmp_path: Path) -> None:
    refuse(tmp_path / "runs" / "demo", main=False)
    assert (tmp_path / "runs" / "demo" / "recipe.yaml").exists()


def test_a_run_that_begins_keeps_its_folder(tmp_path: Path) -> None:
    with remove_on_failure(tmp_path / "demo", True):
        claimed(tmp_path / "demo")
    assert (tmp_path / "demo" / "recipe.yaml").exists()
