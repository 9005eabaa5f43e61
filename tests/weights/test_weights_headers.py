"""A cached file that is not what was stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.weights import catalogue

HEADERS = (b"[]", b"[1, 2]", b'{"a": 1}', b"{}", b"[" * 100_000, b"\xff", b'"x"', b"9" * 5000)


@pytest.mark.parametrize("content", HEADERS)
def test_a_header_of_something_else(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tokbench.weights import store

    name = next(iter(catalogue.ENTRIES))
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    monkeypatch.setattr(store, "path_of", lambda _: path)
    for ask in (store.digest, store.load):
        with pytest.raises(TokbenchError, match="damaged .*weights get") as caught:
            ask(name)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
