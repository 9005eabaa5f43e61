"""A cache of its own for every test, and a small entry in the catalogue whose files a test can make."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
