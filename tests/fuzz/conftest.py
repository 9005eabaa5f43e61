"""Fuzzing keeps to its folder: the user's cache, too, lies inside it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that everything may be written to."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def own_cache(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(space / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(space / "inductor"))
