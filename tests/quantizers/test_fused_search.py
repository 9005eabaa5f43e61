"""The search as a Triton kernel: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from far_cards import compile_for
from fork_server import ForkServer
from gpu_device import DEVICE, on_gpu
from torch import Tensor

Interpreted = Callable[..., None]


@pytest.fixture
def interpreted(forks: ForkServer, tmp_path: Path) -> Interpreted:
    """Every shape (N, K, d) by the code given, else against a brute force in fp64, in a process in which Triton
    interprets its kernels."""
    pytest.importorskip("triton")
    return lambda shapes, code=FUSED: forks.check(code, repr(shapes), printed=tmp_path / "printed")


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


# Codes are noisy copies of the vectors, strewn over all blocks of codes, and then some are the same to the bit.
NEAR_TIES = """
import ast, sys
import torch
from quantizers.functional import nearest
torch.manual_seed(0)
whole = nearest.find_in_pieces
for n, size, dim in ast.literal_eval(sys.argv[1]):
    z = torch.randn(n, dim)
    codebook = z[torch.arange(size) % n] + 1e-6 * torch.randn(size, dim)
    for same in (0, 3 * n):
        codebook[size - same :] = codebook[:same].clone()
        distances = (z.double()[:, None] - codebook.double()).square().sum(-1)
        exact = (distances == distances.amin(1, keepdim=True)).int().argmax(1)
        aligned = whole(z, codebook, False)
        for most in (None, 0, 2, size // n - 1, size // n):
            searched = []
            nearest.find_in_pieces = lambda z, *rest: searched.append(len(z)) or whole(z, *rest)
            assert torch.equal(nearest.find_fused(z, codebook, True, most), exact), (n, size, dim, same, most)
            few = most is not None and most < size // n
            assert sum(searched) == (n if few else 0), (searched, n, size, dim, same, most)
            assert torch.equal(nearest.find_fused(z, codebook, False, most), aligned), (n, size, dim, same, most)
    assert not nearest.find_fused(z, codebook[:1].expand(size, dim), True).any()
"""


def test_near_ties_are_listed_and_of_more_than_a_list_holds_the_whole_row_is_searched(interpreted: Interpreted) -> None:
    interpreted([(12, 264, 12)], NEAR_TIES)


@pytest.mark.slow
def test_near_ties_in_every_block(interpreted: Interpreted) -> None:
    interpreted([(2, 18, 3), (65, 520, 8), (7, 1120, 16), (130, 390, 43), (64, 256, 256)], NEAR_TIES)


COMPILED = """
import os, re, subprocess, tempfile
import triton
from torch import bfloat16, float32, int32, int64
from quantizers.functional import fused_search
memory = {80: 163, 90: 227}[card] * 1024
fused_search._shared_memory = lambda device: memory

def unspilled(kernel, *args, **options):
    made = machine_code(kernel, memory, *args, **options)
    tool = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
    assert int(re.search(r" STACK:(\\d+)", said)[1]) < 64, (kernel, args, said)  # which is what is spilled to

for dim in (8, 64):
    for by_length in (False, True):
        n, k, d, warps, stages = fused_search._blocks(dim, None)
        width = -(-3 * dim // d) * d
        unspilled(
            fused_search._search_kernel, bfloat16, bfloat16, float32, float32, float32, int32, 999, 9999, 9999,
            by_length, width, n, k, d, num_warps=warps, num_stages=stages,
        )
        n, k, d, warps, stages = fused_search._list_blocks(dim, None)
        unspilled(
            fused_search._list_kernel, bfloat16, bfloat16, float32, int64, float32, int32, int32, 999, 9999, 9999, 64,
            by_length, width, n, k, d, num_warps=warps, num_stages=stages,
        )
"""


@pytest.mark.slow
@pytest.mark.parametrize("card", [80, 90])
def test_kernels_compile_for_a_card_that_is_not_here(card: int) -> None:
    """To machine code, with next to nothing spilled to memory."""
    compile_for(card, COMPILED)


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

    def nearest(codebook: Tensor) -> Tensor:
        parts = [(part.double()[:, None] - codebook.double()).square().sum(-1) for part in z.split(20)]
        return torch.cat([(part == part.amin(1, keepdim=True)).int().argmax(1) for part in parts])

    exact = nearest(codebook)
    assert torch.equal(find_code(z, codebook, True), exact)
    twice = torch.cat([codebook, codebook])  # of equal codes the lower index is taken
    assert torch.equal(find_code(z, twice, True), exact)
    copies = z[torch.arange(size, device=z.device) % len(z)]
    copies += 1e-6 * torch.randn_like(copies)
    assert torch.equal(find_code(z, copies, True), nearest(copies))
