"""Nearest code vectors: one matrix product in cache-sized pieces, exact up to true ties.

argmin_k |z - c_k|^2 = argmax_k z.c_k - |c_k|^2 / 2: the half-norms enter the product as its bias, the N x K matrix
never exists whole, and rows whose two best scores are closer than rounding could have made them are settled in fp64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROUND = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}  # what a matrix product may do to its fp32 inputs
_RECHECK_NUMBERS = 2**20  # fp64 numbers that the settling of near ties holds at a time


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest in squared L2: z (..., d), codebook (K, d) -> int64 (...).

    Equal to an fp64 brute force except where two codes tie exactly; then the lower index is taken.
    """
    return _find(z, codebook, by_length=True)


def most_aligned_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code of largest inner product <z, c_k>, otherwise as ``nearest_code``."""
    return _find(z, codebook, by_length=False)


def _find(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    if codebook.ndim != 2 or z.ndim < 1 or z.shape[-1] != codebook.shape[1]:
        given = f"{tuple(z.shape)} and {tuple(codebook.shape)}"
        raise ValueError(f"code search takes z (..., d) and codebook (K, d), not {given}")
    flat = z.detach().reshape(-1, z.shape[-1]).float()
    codebook = codebook.detach().float()
    # One opaque operator where torch.compile traces, so that the settling of ties breaks no graph.
    find = torch.ops.quantizers.find_code if torch.compiler.is_compiling() else find_code
    return find(flat, codebook, by_length).reshape(z.shape[:-1])


def find_code(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """The search for fp32 z (N, d), on whatever suits the device."""
    if z.device.type == "meta":
        return torch.empty(z.shape[0], dtype=torch.int64, device="meta")
    return find_in_pieces(z, codebook, by_length)


def find_in_pieces(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """The search by matrix products, for any device. ``by_length``: nearest, else most aligned."""
    n, d = z.shape
    size = codebook.shape[0]
    width = _column_width(size)
    padded = -(-size // width) * width
    half_norms = 0.5 * (codebook * codebook).sum(1)
    bias = -half_norms if by_length else torch.zeros_like(half_norms)
    columns = codebook
    if padded != size:
        columns = torch.cat([codebook, codebook.new_zeros(padded - size, d)])
        bias = torch.cat([bias, bias.new_full((padded - size,), -math.inf)])
    # Rounding of a score is below this times |z||c| + |c|^2 / 2, for any order of summation.
    relative = d * 2.0**-23 + _ROUND[torch.get_float32_matmul_precision()]
    largest = half_norms.max()
    rows = max(512, 2**20 // padded)
    found = torch.empty(n, dtype=torch.int64, device=z.device)
    scores = z.new_empty(min(rows, n), padded)
    for start in range(0, n, rows):
        part = z[start : start + rows]
        out = torch.addmm(bias, part, columns.t(), out=scores[: len(part)])
        tolerance = 2 * relative * (part.norm(dim=1) * (2 * largest).sqrt() + largest)
        found[start : start + rows] = _pick(out, width, tolerance, part, codebook, by_length)
    return found


def _pick(scores: Tensor, width: int, tolerance: Tensor, z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """Column of the largest score (n, K) a row; rows whose runner-up is within ``tolerance`` (n,) go to fp64."""
    n, size = scores.shape
    table = scores.view(n, size // width, width)
    # A maximum over the middle axis is one vectorised pass; the exact place is then sought in one column only.
    two_columns = table.amax(1).topk(min(2, width), dim=1)
    column = two_columns.indices[:, :1]
    inside = table.gather(2, column[:, None].expand(-1, table.shape[1], 1))[..., 0]
    two_inside = inside.topk(min(2, table.shape[1]), dim=1)
    index = two_inside.indices[:, 0] * width + column[:, 0]
    second = torch.full_like(tolerance, -math.inf)
    for pair in (two_columns.values, two_inside.values):
        if pair.shape[1] == 2:
            second = torch.maximum(second, pair[:, 1])
    bar = two_columns.values[:, 0] - tolerance
    doubtful = (second >= bar).nonzero()[:, 0]
    if len(doubtful):
        index[doubtful] = _settle(scores[doubtful] >= bar[doubtful, None], z[doubtful], codebook, by_length)
    return index


def _settle(candidates: Tensor, z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """candidates (n, K) bool, z (n, d) -> the best candidate a row in fp64, the lowest index of equals."""
    n = len(candidates)
    row, code = candidates.nonzero().unbind(1)
    cost = torch.empty(len(row), dtype=torch.float64, device=z.device)
    step = max(1, _RECHECK_NUMBERS // z.shape[1])
    for start in range(0, len(row), step):
        x, c = z[row[start : start + step]].double(), codebook[code[start : start + step]].double()
        cost[start : start + step] = (x - c).square().sum(1) if by_length else -(x * c).sum(1)
    best = cost.new_full((n,), math.inf).scatter_reduce_(0, row, cost, "amin")
    code = code.where(cost == best[row], len(codebook))
    return code.new_full((n,), len(codebook)).scatter_reduce_(0, row, code, "amin")


def _column_width(size: int) -> int:
    """About the square root of the codebook size, in whole vector registers."""
    return max(16, round(math.sqrt(size) / 16) * 16) if size >= 64 else size


@torch.library.custom_op("quantizers::find_code", mutates_args=())
def _find_code_op(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    return find_code(z, codebook, by_length)


@_find_code_op.register_fake
def _(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    return torch.empty(z.shape[0], dtype=torch.int64, device=z.device)
