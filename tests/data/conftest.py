"""Caches of their own, so that no test sees another's or the user's; folders of small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_pictures import encoded, picture


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TOKBENCH_CACHE", str(cache))
    return cache


@pytest.fixture
def own_hub_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    folder = tmp_path_factory.getbasetemp() / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(folder / "modules"))


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes PNGs: ``folder_of({"a/1": 5})`` puts image 5 into a/1.png."""

    def write(files: dict[str, int], name: str = "pictures", **size: int) -> Path:
        root = tmp_path / name
        for path, seed in files.items():
            target = root / f"{path}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encoded(picture(seed, **size)))
        return root

    return write
