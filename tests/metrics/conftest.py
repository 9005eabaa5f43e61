"""A cache of its own for every test: nothing is read from or written to the user's unless asked for by name."""

from __future__ import annotations

import pytest
from metric_fakes import GreyTokenizer, Pictures


@pytest.fixture
def pictures() -> Pictures:
    return Pictures(13)


@pytest.fixture
def tokenizer() -> GreyTokenizer:
    return GreyTokenizer()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
