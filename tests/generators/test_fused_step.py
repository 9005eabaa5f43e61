"""A decoding step's Triton kernels in Triton's interpreter; on a GPU: ``test_generators_gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest
from fork_server import ForkServer


def test_a_fused_step_is_the_plain_one(forks: ForkServer, tmp_path: Path) -> None:
    """In a process in which Triton interprets its kernels."""
    pytest.importorskip("triton")
    forks.check(FUSED, printed=tmp_path / "printed")


FUSED = """
import torch
from tokbench.generators import stepping
from tokbench.generators.transformer import Transformer, axial_rotation
torch.manual_seed(0)
rows, length = 2, 35
for width, heads, turned, hidden in ((12, 3, True, False), (18, 3, False, True)):
    stack = Transformer(width, heads, 2).eval()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    turns = axial_rotation((2, 17), width // heads) if turned else None
    shown = torch.rand(rows, length) > 0.3 if hidden else None
    if shown is not None:
        shown[:, 0] = True
    plain, fused = stepping.Steps(stack, rows, length), stepping.Steps(stack, rows, length)
    for cache, other in zip(plain.caches, fused.caches):
        for kept, copy in zip(cache, other):
            copy.copy_(torch.nn.init.normal_(kept))
    with torch.no_grad():
        for at in (0, 1, 33):  # of blocks of 32 places
            x = torch.randn(rows, width)
            stepping.fuses = lambda x, cache: False
            wanted = plain(x, at, turns, shown)
            stepping.fuses = lambda x, cache: True
            found = fused(x, at, turns, shown)
            assert torch.allclose(found, wanted, atol=1e-4), (width, at, (found - wanted).abs().max())
    for cache, other in zip(plain.caches, fused.caches):
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(cache, other)), (width, "caches")
"""
