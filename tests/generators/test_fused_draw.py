"""Drawing as one Triton kernel, in Triton's interpreter: the codes that the plain operators draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fork_server import ForkServer


@pytest.fixture
def interpreted(forks: ForkServer, tmp_path: Path) -> Callable[[list[int]], None]:
    """In a process in which Triton interprets its kernels."""
    pytest.importorskip("triton")
    return lambda sizes: forks.check(DRAWN, repr(sizes), printed=tmp_path / "printed")


DRAWN = """
import ast, sys
import torch
from tokbench.generators.fused_draw import argmax_with_noise
from tokbench.generators.noise import gumbel, image_keys, place_keys
torch.manual_seed(0)
rows = different = 0
for size in ast.literal_eval(sys.argv[1]):
    keys = place_keys(image_keys(3, torch.arange(4))[:, None], torch.arange(2))
    logits = 2 * torch.randn(4, 2, size)
    logits[1:3, :, size // 2 + 1 :] = -torch.inf
    for temperature in (1.0, 0.3):
        plain = (logits / temperature + gumbel(keys, torch.arange(size))).argmax(-1)
        drawn = argmax_with_noise(logits, keys, temperature)
        assert drawn.shape == plain.shape and drawn.dtype == plain.dtype
        rows, different = rows + plain.numel(), different + int((drawn != plain).sum())
assert different <= rows / 100, (different, rows)  # near ties
"""


def test_draws_the_same_codes(interpreted: Callable[[list[int]], None]) -> None:
    interpreted([1, 3, 1025, 5000])


@pytest.mark.slow
def test_draws_the_same_codes_at_every_edge_of_a_block(interpreted: Callable[[list[int]], None]) -> None:
    interpreted([*range(1, 20), 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049, 16384, 2**18])
