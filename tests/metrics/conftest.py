"""A cache of its own for every test: nothing is read from or written to the user's unless asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from metric_fakes import FakeSpace, GreyTokenizer, Pictures

from tokbench import weights
from tokbench.metrics import extractors, inception


@pytest.fixture
def pictures() -> Pictures:
    return Pictures(13)


@pytest.fixture
def tokenizer() -> GreyTokenizer:
    return GreyTokenizer()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> FakeSpace:
    """A small feature space in the place of the Inception network, so that FID's own code runs without weights."""
    fake = FakeSpace()
    monkeypatch.setitem(extractors._FACTORIES, inception.NAME, lambda device: fake)
    monkeypatch.setattr(weights, "find", lambda name: Path(name))
    return fake
