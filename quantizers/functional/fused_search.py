"""The code search in Triton kernels: products, running best and runner-up in registers, no N x K matrix at all.

The products are of bf16 numbers, for which GPUs have matrix units: a number is the sum of two, ``high + low``, and of
the four products that makes, the smallest is left out. How far off scores may then be is known. Rows whose two best are
closer than that are scored once more by a kernel of its own, which lists the codes that close, to be compared exactly;
the search itself spends no registers on them. Imported only where z is on a GPU and Triton is there.
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
def _scores(  # type: ignore[no-untyped-def]
    z_rows, codes_ptr, squares_ptr, codes, channels, size, BY_LENGTH: tl.constexpr, DIM: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """(BLOCK_N, BLOCK_K): of rows that begin at z_rows and a block of codes; beyond the last code -inf."""
    code_columns = codes_ptr + tl.minimum(codes, size - 1).to(tl.int64)[None, :] * DIM + channels[:, None]
    scores = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for d in range(0, DIM, BLOCK_D):
        scores = tl.dot(tl.load(z_rows + d), tl.load(code_columns + d), scores)
    if BY_LENGTH:
        scores -= 0.5 * tl.load(squares_ptr + codes, mask=codes < size, other=float("inf"))[None, :]
    else:
        scores = tl.where(codes[None, :] < size, scores, float("-inf"))
    return scores


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
        scores = _scores(
            z_rows, codes_ptr, squares_ptr, k + columns, channels, size, BY_LENGTH, DIM, BLOCK_N, BLOCK_K, BLOCK_D
        )  # fmt: skip
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
    best_ptr, second_ptr, index_ptr, squares_ptr, largest_ptr, found_ptr, bars_ptr, doubtful_ptr, n, parts, rounding,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Of all shares the best code of each row, the score below which no code is as good, and whether another has it."""
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
    bars = best - 2 * rounding * (norms + 0.5 * largest)
    tl.store(found_ptr + rows, index.to(tl.int64), mask=inside)
    tl.store(bars_ptr + rows, bars, mask=inside)
    tl.store(doubtful_ptr + rows, second >= bars, mask=inside)


@triton.jit
def _list_kernel(  # type: ignore[no-untyped-def]
    z_ptr, codes_ptr, squares_ptr, rows_ptr, bars_ptr, counts_ptr, listed_ptr, n, size, share, most,
    BY_LENGTH: tl.constexpr, DIM: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """For n rows of z, how many codes of a share reach the row's bar, and which: up to ``most`` of all shares, in any
    order."""
    places = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = places < n
    rows = tl.load(rows_ptr + tl.minimum(places, n - 1))
    bars = tl.load(bars_ptr + rows)
    channels = tl.arange(0, BLOCK_D)
    columns = tl.arange(0, BLOCK_K)
    z_rows = z_ptr + rows[:, None] * DIM + channels[None, :]
    lists = listed_ptr + places.to(tl.int64)[:, None] * most
    first = tl.program_id(1) * share
    for k in range(first, tl.minimum(first + share, size), BLOCK_K):
        codes = k + columns
        scores = _scores(
            z_rows, codes_ptr, squares_ptr, codes, channels, size, BY_LENGTH, DIM, BLOCK_N, BLOCK_K, BLOCK_D
        )  # fmt: skip
        near = ((scores >= bars[:, None]) & inside[:, None] & (codes < size)[None, :]).to(tl.int32)
        found = tl.sum(near, axis=1)
        if tl.max(found, axis=0) > 0:
            start = tl.atomic_add(counts_ptr + places, found, mask=found > 0, sem="relaxed")
            slots = start[:, None] + tl.cumsum(near, axis=1) - 1
            kept = (near > 0) & (slots < most)
            tl.store(lists + slots, tl.broadcast_to(codes[None, :], (BLOCK_N, BLOCK_K)), mask=kept)


def rounding(dim: int) -> float:
    """How far a score z.c - |c|^2 / 2 may be from exact, in units of |z||c| + |c|^2 / 2.

    Three parts of 2^-18 are what the split leaves out: low times low, and what is below ``low`` of either. The rest is
    the summing of three products a channel in fp32, in any order.
    """
    return (3 * dim + 4) * 2.0**-23 + 3 * 2.0**-18


class Search:
    """One search: z (N, d) and codebook (K, d) in fp32, split once for both of its passes.

    Args:
        by_length: nearest, else most aligned.
    """

    def __init__(self, z: Tensor, codebook: Tensor, by_length: bool) -> None:
        self.by_length, self.size, (self.n, self.dim) = by_length, len(codebook), z.shape
        # A shift changes no distance, but an offset that z and codes share would make every row doubtful.
        centre = codebook.mean(0) if by_length else None
        multiple = _blocks(self.dim, z.device)[2]
        self.codes, self.squares = _split(codebook, centre, multiple, high_low_high=True)
        self.vectors, self.z_squares = _split(z, centre, multiple, high_low_high=False)
        if z.device.type == "cpu":  # Triton's interpreter takes the bits of bf16 for integers
            self.codes, self.vectors = self.codes.float(), self.vectors.float()

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """The code of the best score of each row in int64, the score that its rivals reach (N,), and the rows (m,) that
        have any: of which rounding may have made it the best."""
        n, device = self.n, self.vectors.device
        block_n, block_k, block_d, warps, stages = _blocks(self.dim, device)
        blocks, parts, share = self._shares(n, block_n, block_k)
        best, second = self.squares.new_empty(2, parts, n)
        index = torch.empty(parts, n, dtype=torch.int32, device=device)
        _search_kernel[(blocks, parts)](
            self.vectors, self.codes, self.squares, best, second, index, n, self.size, share, self.by_length,
            self.codes.shape[1], block_n, block_k, block_d, num_warps=warps, num_stages=stages,
        )  # fmt: skip
        found = torch.empty(n, dtype=torch.int64, device=device)
        bars, doubtful = best.new_empty(n), torch.empty(n, dtype=torch.bool, device=device)
        _join_kernel[(triton.cdiv(n, 256),)](
            best, second, index, self.z_squares, self.squares.max(), found, bars, doubtful, n, parts,
            rounding(self.dim), 256,
        )  # fmt: skip
        return found, bars, doubtful.nonzero()[:, 0]

    def near(self, rows: Tensor, bars: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Of each of m rows how many codes reach its bar (m,), and which (m, most), where they are no more than that.

        The exactly best code is among them: it loses at most its own rounding, and the bar is the best score less that
        and the best score's own, whichever order either pass summed in.
        """
        n, device = len(rows), rows.device
        block_n, block_k, block_d, warps, stages = _list_blocks(self.dim, device)
        blocks, parts, share = self._shares(n, block_n, block_k)
        counts = torch.zeros(n, dtype=torch.int32, device=device)
        listed = torch.empty(n, most, dtype=torch.int32, device=device)
        _list_kernel[(blocks, parts)](
            self.vectors, self.codes, self.squares, rows, bars, counts, listed, n, self.size, share, most,
            self.by_length, self.codes.shape[1], block_n, block_k, block_d, num_warps=warps, num_stages=stages,
        )  # fmt: skip
        return counts, listed

    def _shares(self, n: int, block_n: int, block_k: int) -> tuple[int, int, int]:
        """Blocks of rows, parts that the codes are shared out to, and codes of a part."""
        blocks = triton.cdiv(n, block_n)
        parts = max(1, min(_PROGRAMS // blocks, triton.cdiv(self.size, block_k)))
        share = triton.cdiv(triton.cdiv(self.size, parts), block_k) * block_k
        return blocks, triton.cdiv(self.size, share), share


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


def _list_blocks(dim: int, device: torch.device) -> tuple[int, int, int, int, int]:
    """The same of the second pass, which holds a second number for each score: what fits into the registers."""
    _, block_k, block_d, _, stages = _blocks(dim, device)
    return 64, min(block_k, 128), block_d, 8, stages


@functools.cache
def _shared_memory(device: torch.device) -> int:
    """Bytes that a block may take."""
    if device.type == "cpu":
        return 0
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 2**16))
