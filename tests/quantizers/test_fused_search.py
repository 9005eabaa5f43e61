"""The search as a Triton kernel: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from gpu_device import DEVICE, on_gpu

Interpreted = Callable[[list[tuple[int, int, int]]], None]


@pytest.fixture
def interpreted(forks: ForkServer, tmp_path: Path) -> Interpreted:
    """Every shape (N, K, d) against a brute force in fp64, in a process in which Triton interprets its kernels."""
    pytest.importorskip("triton")
    return lambda shapes: forks.check(FUSED, repr(shapes), printed=tmp_path / "printed")


FUSED = """
import ast, sys
import torch
from quantizers.functional.nearest import find_fused, find_in_pieces
torch.manual_seed(0)
for n, size, dim in ast.literal_eval(sys.argv[1]):
    z, codebook = torch.randn(n, dim), torch.randn(size, dim)
    codebook[size // 2 : size // 2 * 2] = codebook[: size // 2] + 1e-6 * torch.randn(size // 2, dim)
    exact = (z.double()[:, None] - codebook.double()).square().sum(-1).argmin(1)
    assert torch.equal(find_fused(z, codebook, True), exact), (n, size, dim)
    assert torch.equal(find_fused(z, codebook, False), find_in_pieces(z, codebook, False)), (n, size, dim)
    shifted = find_fused(z + 1000, codebook + 1000, True), find_in_pieces(z + 1000, codebook + 1000, True)
    assert torch.equal(*shifted), (n, size, dim, "shifted")
"""


def test_in_the_interpreter(interpreted: Interpreted) -> None:
    interpreted([(70, 130, 24), (1, 1, 3), (64, 64, 16)])


@pytest.mark.slow
def test_every_block_and_its_edges_in_the_interpreter(interpreted: Interpreted) -> None:
    """One less than a block of rows, codes and channels (three numbers stand for one), the block, and one more; several
    blocks; a single of each; codes that few rows share out."""
    rows, codes, channels = (1, 63, 64, 65, 130), (1, 2, 127, 128, 129, 300), (1, 9, 10, 11, 21, 22)
    edges = list(itertools.product(rows, codes, channels))
    interpreted([*edges, (127, 257, 43), (129, 129, 64), (70, 1000, 256), (3, 4096, 8), (200, 5, 64), (300, 5000, 12)])


@on_gpu
@pytest.mark.parametrize(("size", "dim"), [(16384, 8), (1000, 256), (4096, 64), (65, 33)])
def test_on_a_gpu(size: int, dim: int) -> None:
    from quantizers.functional.nearest import find_code

    z, codebook = torch.randn(5000 if DEVICE == "cuda" else 50, dim), torch.randn(size, dim)
    codebook[size // 2 : size // 2 * 2] = codebook[: size // 2] + 1e-6 * torch.randn(size // 2, dim)
    z, codebook = z.to(DEVICE), codebook.to(DEVICE)
    parts = [(part.double()[:, None] - codebook.double()).square().sum(-1).argmin(1) for part in z.split(20)]
    assert torch.equal(find_code(z, codebook, True), torch.cat(parts))
    twice = torch.cat([codebook, codebook])  # of equal codes the lower index is taken
    assert torch.equal(find_code(z, twice, True), torch.cat(parts))
