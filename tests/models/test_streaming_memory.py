"""A video of any length goes through a causal tokenizer in the memory of its first frames."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tiny_clips import make_clip_tokenizer

from tokbench.bench.resident import in_own_process
from tokbench.models.causal import CausalStream

TESTS = str(Path(__file__).resolve().parents[1])


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_what_is_kept_between_pieces_does_not_grow(part: str) -> None:
    tokenizer = make_clip_tokenizer()
    network = getattr(tokenizer, part)
    piece = torch.rand(1, 3, 9, 16, 16) if part == "encoder" else torch.rand(1, 6, 3, 4, 4)
    stream, held = CausalStream(network), []
    with torch.no_grad():
        for begun in range(5):
            stream(piece[:, :, 1:] if begun else piece)
            kept = [tensor for past in stream._past.values() for tensor in past.values()]
            # Of storages, not of views: a view of two frames may hold the whole piece.
            held.append(sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}.values()))
    assert len(set(held[1:])) == 1 and 0 < held[0] <= held[1]


def grown(monkeypatch: pytest.MonkeyPatch, what: str, frames: int) -> float:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{Path(TESTS).parent}")
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    found = in_own_process("streaming_growth:streamed", what, str(frames), what=what)
    if found is None:
        pytest.skip("memory is told by Linux alone")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("what", ["decode", "encode"])
def test_a_thousand_frames_take_what_a_few_take(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few, more = grown(monkeypatch, what, 33), grown(monkeypatch, what, 1009)
    print(f"{what}: {few:.1f} MiB of 33 frames, {more:.1f} MiB of 1,009")
    assert few > 10 and more < 1.1 * few
