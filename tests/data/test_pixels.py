"""Bytes and floats: exact both ways, rounded half to even, clamped."""

from __future__ import annotations

import pytest
import torch

from tokbench.data.pixels import to_float, to_uint8


def test_every_byte_comes_back() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8)
    floats = to_float(bytes_)
    assert floats.dtype == torch.float32
    assert floats[0] == -1.0 and floats[255] == 1.0
    assert torch.equal(to_uint8(floats), bytes_)


def test_halves_go_to_the_even_byte() -> None:
    # (x + 1) * 127.5 is exactly 0.5, 1.5 and 63.75 for these, all representable in float64.
    halves = torch.tensor([0.5, 1.5, 2.5, 126.5, 127.5], dtype=torch.float64) / 127.5 - 1
    exact = (halves.float() + 1) * 127.5
    kept = exact == torch.tensor([0.5, 1.5, 2.5, 126.5, 127.5])
    assert kept.sum() >= 2, "float32 keeps no half exactly, so this test would show nothing"
    assert torch.equal(to_uint8(halves)[kept], torch.tensor([0, 2, 2, 126, 128], dtype=torch.uint8)[kept])


def test_outside_is_clamped_and_low_precision_is_rounded_once() -> None:
    assert to_uint8(torch.tensor([-3.0, 1.7, float("inf"), -float("inf")])).tolist() == [0, 255, 255, 0]
    value = torch.tensor([0.1], dtype=torch.bfloat16)
    assert to_uint8(value).item() == round((value.float().item() + 1) * 127.5)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        to_float(torch.zeros(3))
    with pytest.raises(TypeError, match="floating"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))
