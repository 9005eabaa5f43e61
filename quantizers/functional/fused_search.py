"""The code search in three Triton kernels: products, running best and runner-up in registers, no N x K matrix at all.

The products are of bf16 numbers, for which GPUs have matrix units: a number is the sum of two, ``high + low``, and of
the four products that makes, the smallest is left out. How far off scores may then be is known, and rows whose two best
are closer than that are named, to be searched otherwise. Imported only where z is on a GPU and Triton is there.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROGRAMS = 264  # two for each of an H100's multiprocessors: with fewer rows than that takes, they share the codes out


@triton.jit
def _to_bf16(x):  # type: ignore[no-untyped-def]
    """fp32 to the nearest bf16, of two as near the even one, also in the interpreter, which would cut it off."""
    bits = x.to(tl.uint32, bitcast=True)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).to(tl.float32, bitcast=True).to(tl.bfloat16)


@triton.jit
def _split_kernel(  # type: ignore[no-untyped-def]
    x_ptr, centre_ptr, parts_ptr, squares_ptr, n, DIM: tl.constexpr, WIDTH: tl.constexpr, HIGH_LOW_HIGH: tl.constexpr,
    CENTRED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Rows of x less the centre as high, high, low or high, low, high and zeros up to WIDTH; their squared norms."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = rows[:, None] < n
    x_rows, parts = x_ptr + rows.to(tl.int64)[:, None] * DIM, parts_ptr + rows.to(tl.int64)[:, None] * WIDTH
    squares = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, DIM, BLOCK_D):
        channels = start + tl.arange(0, BLOCK_D)[None, :]
        kept = inside & (channels < DIM)
        x = tl.load(x_rows + channels, mask=kept, other=0.0)
        if CENTRED:
            x = tl.where(kept, x - tl.load(centre_ptr + channels, mask=channels < DIM, other=0.0), 0.0)
        squares += tl.sum(x * x, axis=1)
        high = _to_bf16(x)
        low = _to_bf16(x - high.to(tl.float32))
        tl.store(parts + channels, high, mask=kept)
        tl.store(parts + DIM + channels, low if HIGH_LOW_HIGH else high, mask=kept)
        tl.store(parts + 2 * DIM + channels, high if HIGH_LOW_HIGH else low, mask=kept)
    rest = 3 * DIM + tl.arange(0, 64)[None, :]
    tl.store(parts + rest, tl.zeros((BLOCK_N, 64), tl.bfloat16), mask=inside & (rest < WIDTH))
    tl.store(squares_ptr + rows, squares, mask=rows < n)


@triton.jit
def _search_kernel(  # type: ignore[no-untyped-def]
    z_ptr, codes_ptr, squares_ptr, best_ptr, second_ptr, index_ptr, n, size, share, BY_LENGTH: tl.constexpr,
    DIM: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """The two largest scores of each row among a share of the codes, and the first one's code."""
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
        if BY_LENGTH:
            scores -= 0.5 * tl.load(squares_ptr + codes, mask=codes < size, other=float("inf"))[None, :]
        else:
            scores = tl.where(codes[None, :] < size, scores, float("-inf"))
        top, place = tl.max(scores, axis=1, return_indices=True)
        runner_up = tl.max(tl.where(columns[None, :] == place[:, None], float("-inf"), scores), axis=1)
        second = tl.maximum(tl.maximum(second, runner_up), tl.minimum(best, top))
        index = tl.where(top > best, k + place, index)
        best = tl.maximum(best, top)
    kept = tl.program_id(1).to(tl.int64) * n + rows
    tl.store(best_ptr + kept, best, mask=rows < n)
    tl.store(second_ptr + kept, second, mask=rows < n)
    tl.store(index_ptr + kept, index, mask=rows < n)


@triton.jit
def _join_kernel(  # type: ignore[no-untyped-def]
    best_ptr, second_ptr, index_ptr, squares_ptr, largest_ptr, found_ptr, doubtful_ptr, n, parts, rounding,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Of all shares the best code of each row, and whether another may be as good."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = rows < n
    best = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    second = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    index = tl.zeros((BLOCK_N,), tl.int32)
    kept = rows.to(tl.int64)
    for _ in range(0, parts):
        top = tl.load(best_ptr + kept, mask=inside, other=float("-inf"))
        runner_up = tl.load(second_ptr + kept, mask=inside, other=float("-inf"))
        second = tl.maximum(tl.maximum(second, runner_up), tl.minimum(best, top))
        index = tl.where(top > best, tl.load(index_ptr + kept, mask=inside, other=0), index)
        best = tl.maximum(best, top)
        kept += n
    largest = tl.load(largest_ptr)
    norms = tl.sqrt(tl.load(squares_ptr + rows, mask=inside, other=0.0) * largest)
    tl.store(found_ptr + rows, index.to(tl.int64), mask=inside)
    tl.store(doubtful_ptr + rows, second >= best - 2 * rounding * (norms + 0.5 * largest), mask=inside)


def rounding(dim: int) -> float:
    """How far a score z.c - |c|^2 / 2 may be from exact, in units of |z||c| + |c|^2 / 2.

    Three parts of 2^-18 are what the split leaves out: low times low, and what is below ``low`` of either. The rest is
    the summing of three products a channel in fp32, in any order.
    """
    return (3 * dim + 4) * 2.0**-23 + 3 * 2.0**-18


def best_code(z: Tensor, codebook: Tensor, by_length: bool) -> tuple[Tensor, Tensor]:
    """z (N, d) and codebook (K, d) in fp32 -> the code of the best score of each row in int64, and the rows (m,) where
    rounding may have made it the best."""
    (n, dim), size, device = z.shape, len(codebook), z.device
    block_n, block_k, block_d, warps, stages = _blocks(dim, device)
    # A shift changes no distance, but an offset that z and codes share would make every row doubtful.
    centre = codebook.mean(0) if by_length else None
    codes, squares = _split(codebook, centre, block_d, high_low_high=True)
    vectors, z_squares = _split(z, centre, block_d, high_low_high=False)
    if device.type == "cpu":  # Triton's interpreter takes the bits of bf16 for integers
        codes, vectors = codes.float(), vectors.float()
    blocks = triton.cdiv(n, block_n)
    parts = max(1, min(_PROGRAMS // blocks, triton.cdiv(size, block_k)))
    share = triton.cdiv(triton.cdiv(size, parts), block_k) * block_k
    parts = triton.cdiv(size, share)
    best, second = z.new_empty(2, parts, n)
    index = torch.empty(parts, n, dtype=torch.int32, device=device)
    _search_kernel[(blocks, parts)](
        vectors, codes, squares, best, second, index, n, size, share, by_length, codes.shape[1],
        block_n, block_k, block_d, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    found = torch.empty(n, dtype=torch.int64, device=device)
    doubtful = torch.empty(n, dtype=torch.bool, device=device)
    _join_kernel[(triton.cdiv(n, 256),)](
        best, second, index, z_squares, squares.max(), found, doubtful, n, parts, rounding(dim), 256
    )
    return found, doubtful.nonzero()[:, 0]


def _split(x: Tensor, centre: Tensor | None, multiple: int, high_low_high: bool) -> tuple[Tensor, Tensor]:
    """bf16 (N, 3 d and zeros up to a multiple) and the squared norms (N,)."""
    n, dim = x.shape
    parts = torch.empty(n, triton.cdiv(3 * dim, multiple) * multiple, dtype=torch.bfloat16, device=x.device)
    squares = torch.empty(n, dtype=torch.float32, device=x.device)
    block_d = min(256, triton.next_power_of_2(dim))
    block_n = max(1, 2048 // block_d)
    _split_kernel[(triton.cdiv(n, block_n),)](
        x.contiguous(), x if centre is None else centre, parts, squares, n, dim, parts.shape[1], high_low_high,
        centre is not None, block_n, block_d,
    )  # fmt: skip
    return parts, squares


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
