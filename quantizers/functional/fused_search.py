"""The code search as one Triton kernel: products, running best and runner-up in registers, no N x K matrix at all.

The products are of bf16 numbers, for which GPUs have matrix units: a number is the sum of two, ``high + low``, and of
the four products that makes, the smallest is left out. ``rounding`` says how far off scores may then be, so that the
caller can settle what is closer than that. Imported only where z is on a GPU and Triton is there.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROGRAMS = 264  # two for each of an H100's multiprocessors: with fewer rows than that takes, they share the codes out


@triton.jit
def _search_kernel(  # type: ignore[no-untyped-def]
    z_ptr, codes_ptr, bias_ptr, best_ptr, second_ptr, index_ptr, n, size, share,
    DIM: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    channels = tl.arange(0, BLOCK_D)
    columns = tl.arange(0, BLOCK_K)
    # Beyond the last row and code the last is read again, and not kept: without masks loads run ahead of products.
    z_rows = z_ptr + tl.minimum(rows, n - 1).to(tl.int64)[:, None] * DIM + channels[None, :]
    best = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    second = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    index = tl.zeros((BLOCK_N,), tl.int32)
    first = tl.program_id(1) * share
    for k in range(first, tl.minimum(first + share, size), BLOCK_K):
        codes = k + columns
        code_columns = codes_ptr + tl.minimum(codes, size - 1).to(tl.int64)[None, :] * DIM + channels[:, None]
        scores = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
        for d in range(0, DIM, BLOCK_D):
            scores = tl.dot(tl.load(z_rows + d), tl.load(code_columns + d), scores)
        scores += tl.load(bias_ptr + codes, mask=codes < size, other=float("-inf"))[None, :]
        top, place = tl.max(scores, axis=1, return_indices=True)
        runner_up = tl.max(tl.where(columns[None, :] == place[:, None], float("-inf"), scores), axis=1)
        second = tl.maximum(tl.maximum(second, runner_up), tl.minimum(best, top))
        index = tl.where(top > best, k + place, index)
        best = tl.maximum(best, top)
    kept = tl.program_id(1).to(tl.int64) * n + rows
    tl.store(best_ptr + kept, best, mask=rows < n)
    tl.store(second_ptr + kept, second, mask=rows < n)
    tl.store(index_ptr + kept, index, mask=rows < n)


def rounding(dim: int) -> float:
    """How far a score z.c + b may be from exact, in units of |z||c| + |b|.

    Three parts of 2^-18 are what the split leaves out: low times low, and what is below ``low`` of either. The rest is
    the summing of three products a channel in fp32, in any order.
    """
    return (3 * dim + 4) * 2.0**-23 + 3 * 2.0**-18


def best_two(z: Tensor, codebook: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z (N, d), codebook (K, d), bias (K,), fp32 -> the two largest scores a row, and the first one's code in int64."""
    n, size = len(z), len(codebook)
    block_n, block_k, block_d, warps, stages = _blocks(z.shape[1], z.device)
    (z_high, z_low), (high, low) = _split(z), _split(codebook)
    left, right = _side_by_side([z_high, z_high, z_low], block_d), _side_by_side([high, low, high], block_d)
    if z.device.type == "cpu":  # Triton's interpreter takes the bits of bf16 for integers
        left, right = left.float(), right.float()
    blocks = triton.cdiv(n, block_n)
    parts = max(1, min(_PROGRAMS // blocks, triton.cdiv(size, block_k)))
    share = triton.cdiv(triton.cdiv(size, parts), block_k) * block_k
    parts = triton.cdiv(size, share)
    best, second = z.new_empty(parts, n), z.new_empty(parts, n)
    index = torch.empty(parts, n, dtype=torch.int32, device=z.device)
    _search_kernel[(blocks, parts)](
        left, right, bias, best, second, index, n, size, share, left.shape[1], block_n, block_k, block_d,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if parts == 1:
        return best[0], second[0], index[0].long()
    top, part = best.max(0, keepdim=True)
    elsewhere = best.scatter(0, part, float("-inf")).amax(0)
    return top[0], torch.maximum(elsewhere, second.gather(0, part)[0]), index.gather(0, part)[0].long()


def _blocks(dim: int, device: torch.device) -> tuple[int, int, int, int, int]:
    """Rows, codes and numbers of a block, warps and stages: the fastest of eight that were tried on an H100, and one
    for cards with less shared memory than that takes."""
    if 3 * dim <= 32:
        return 64, 128, 32, 4, 3
    return (128, 256, 64, 8, 3) if _shared_memory(device) >= 3 * (128 + 256) * 64 * 2 else (128, 128, 64, 8, 2)


@functools.cache
def _shared_memory(device: torch.device) -> int:
    """Bytes that a block may take."""
    if device.type == "cpu":
        return 0
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 2**16))


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """bf16 numbers whose sum is x but for 2^-18 of it."""
    high = x.bfloat16()
    return high, (x - high.float()).bfloat16()


def _side_by_side(parts: list[Tensor], multiple: int) -> Tensor:
    """(N, d) each -> (N, D): one after the other and zeros up to a multiple."""
    width = sum(part.shape[1] for part in parts)
    return torch.cat([*parts, parts[0].new_zeros(len(parts[0]), -width % multiple)], 1)
