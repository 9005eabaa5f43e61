"""The code search as one Triton kernel: products, running best and runner-up in registers, no N x K matrix at all.

Imported only where z is on a GPU and Triton is there. Its results are tested in Triton's interpreter; its speed has not
been measured on any GPU, and the block sizes are not tuned.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _search_kernel(  # type: ignore[no-untyped-def]
    z_ptr, codes_ptr, bias_ptr, best_ptr, second_ptr, index_ptr,
    n, size: tl.constexpr, dim: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_inside = rows < n
    z_rows = z_ptr + rows.to(tl.int64)[:, None] * dim
    channels = tl.arange(0, BLOCK_D)
    best = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    second = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    index = tl.zeros((BLOCK_N,), tl.int32)
    for k in range(0, size, BLOCK_K):
        codes = k + tl.arange(0, BLOCK_K)
        code_inside = codes < size
        code_columns = codes_ptr + codes.to(tl.int64)[None, :] * dim
        scores = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
        for d in range(0, dim, BLOCK_D):
            inside = d + channels < dim
            a = tl.load(z_rows + (d + channels)[None, :], mask=row_inside[:, None] & inside[None, :], other=0.0)
            b = tl.load(code_columns + (d + channels)[:, None], mask=code_inside[None, :] & inside[:, None], other=0.0)
            scores = tl.dot(a, b, scores, input_precision="ieee")
        scores += tl.load(bias_ptr + codes, mask=code_inside, other=float("-inf"))[None, :]
        place = tl.argmax(scores, axis=1)
        top = tl.max(scores, axis=1)
        without_top = tl.where(tl.arange(0, BLOCK_K)[None, :] == place[:, None], float("-inf"), scores)
        runner_up = tl.max(without_top, axis=1)
        second = tl.maximum(tl.maximum(second, runner_up), tl.minimum(best, top))
        index = tl.where(top > best, k + place, index)
        best = tl.maximum(best, top)
    tl.store(best_ptr + rows, best, mask=row_inside)
    tl.store(second_ptr + rows, second, mask=row_inside)
    tl.store(index_ptr + rows, index, mask=row_inside)


def best_two(z: Tensor, codebook: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z (N, d), codebook (K, d), bias (K,), fp32 -> the two largest scores a row and the first one's code."""
    n, dim = z.shape
    z, codebook = z.contiguous(), codebook.contiguous()
    best, second = z.new_empty(n), z.new_empty(n)
    index = torch.empty(n, dtype=torch.int32, device=z.device)
    block_n, block_k, block_d = 64, 64, 32 if dim > 16 else 16
    _search_kernel[(triton.cdiv(n, block_n),)](
        z, codebook, bias, best, second, index, n, len(codebook), dim, block_n, block_k, block_d
    )
    return best, second, index.long()
