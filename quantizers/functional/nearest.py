"""Nearest code vectors: one matrix product in cache-sized pieces, exact up to true ties.

argmin_k |z - c_k|^2 = argmax_k z.c_k - |c_k|^2 / 2: the half-norms enter the product as its bias, the N x K matrix
never exists whole, and rows whose two best scores are closer than rounding could have made them are settled in fp64.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import timeit
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from quantizers.graphs import has_values, is_compiling

_RECHECK_NUMBERS = 2**20  # fp64 numbers that the settling of near ties holds at a time
_LISTED = 64  # codes near a row's best that find_fused lists at least
_EXPORTED_CODES = 4096  # that an exported search compares at a time
_HAS_TRITON = importlib.util.find_spec("triton") is not None
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


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
    if is_compiling():
        # One opaque operator, so that the settling of ties breaks no graph.
        found = torch.ops.quantizers.find_code(flat, codebook, by_length)
    else:
        found = (find_code if has_values(flat) else find_by_formula)(flat, codebook, by_length)
    return found.reshape(z.shape[:-1])


def find_code(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """The search for fp32 z (N, d), on whatever suits the device."""
    if z.device.type == "cuda" and _HAS_TRITON and torch.cuda.get_device_capability(z.device) >= (8, 0):
        with torch.cuda.device(z.device):
            return find_fused(z, codebook, by_length)
    return find_in_pieces(z, codebook, by_length)


def find_by_formula(z: Tensor, codebook: Tensor, by_length: bool, codes: int = _EXPORTED_CODES) -> Tensor:
    """The search without a branch on data, in operators that every exporter knows and torch.func transforms.

    In fp64 throughout, which settles near ties; the pieces are of the codebook, ``codes`` at a time, since z has as
    many rows as it likes.
    """
    z, codebook = z.double(), codebook.double()
    best, index = None, None
    for start in range(0, codebook.shape[0], codes):
        piece = codebook[start : start + codes]
        scores = z @ piece.T
        if by_length:
            scores = scores - 0.5 * piece.square().sum(1)
        place = scores.argmax(1, keepdim=True)
        top = scores.gather(1, place)
        if best is None or index is None:
            best, index = top, place
        else:
            index = torch.where(top > best, place + start, index)  # of equals the lower
            best = torch.maximum(best, top)
    assert index is not None
    return index[:, 0]


def find_fused(z: Tensor, codebook: Tensor, by_length: bool, most: int | None = None) -> Tensor:
    """The search by Triton kernels. Rows with codes too close to the best have them listed, and compared in fp64.

    Args:
        most: codes that a row's list holds; a row with more is searched again as a whole, as is every doubtful row
            with 0. None: 64, or four times as many as each vector has if all codes are copies of vectors.
    """
    from quantizers.functional.fused_search import Search

    search = Search(z, codebook, by_length)
    index, bars, rows = search.best()
    if not len(rows):
        return index
    if most is None:
        most = max(_LISTED, 4 * len(codebook) // len(z))
    if most:
        counts, listed = search.near(rows, bars, most)
        whole = (counts < 1) | (counts > most)
        slots = torch.arange(most, device=z.device) < counts.masked_fill(whole, 0)[:, None]
        place, slot = slots.nonzero().unbind(1)
        index[rows] = _exact_best(place, listed[place, slot].long(), rows, z, codebook, by_length)
        rows = rows[whole]
    if len(rows):
        again = z[rows]
        if _is_fast_in_double(z.device):
            index[rows] = find_by_formula(again, codebook, by_length, 2**24 // len(rows) + 1)
        else:
            index[rows] = find_in_pieces(again, codebook, by_length)
    return index


def _is_fast_in_double(device: torch.device) -> bool:
    """Data-centre GPUs, of which fp64 has a half of the speed of fp32: of others it is a sixty-fourth."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) in ((8, 0), (9, 0), (10, 0))


def _prepare(
    z: Tensor, codebook: Tensor, by_length: bool, input_rounding: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z (N, d), codebook (K, d), bias (K,) of the scores z.c + bias, and the tolerance (N,) of a row's scores."""
    columns, centred = codebook, z
    if by_length:
        # A shift changes no distance, but an offset that z and codes share would make every row doubtful.
        centre = codebook.mean(0)
        columns, centred = codebook - centre, z - centre
    half_norms = 0.5 * torch.linalg.vecdot(columns, columns)
    bias = -half_norms if by_length else torch.zeros_like(half_norms)
    # Rounding of a score is below this times |z||c| + |c|^2 / 2, for any order of summation.
    relative = (z.shape[1] + 4) * 2.0**-23 + input_rounding
    largest = half_norms.max()
    tolerance = 2 * relative * (torch.linalg.vector_norm(centred, dim=1) * (2 * largest).sqrt() + largest)
    return centred, columns, bias, tolerance


def find_in_pieces(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """The search by matrix products, for any device. ``by_length``: nearest, else most aligned."""
    n, d = z.shape
    size = codebook.shape[0]
    width = _group_width(size)
    padded = -(-size // width) * width
    centred, columns, bias, tolerance = _prepare(z, codebook, by_length, _input_rounding(z.device))
    if padded != size:
        columns = torch.cat([columns, columns.new_zeros(padded - size, d)])
        bias = torch.cat([bias, bias.new_full((padded - size,), -math.inf)])
    rows = _rows_at_a_time(padded, z.device)
    product = _product(columns, bias, centred, min(rows, n))
    found = torch.empty(n, dtype=torch.int64, device=z.device)
    for start in range(0, n, rows):
        piece = slice(start, start + rows)
        found[piece] = _pick(product(piece), width, tolerance[piece], z[piece], codebook, by_length)
    return found.clamp_(max=size - 1)


def _product(columns: Tensor, bias: Tensor, z: Tensor, rows: int) -> Callable[[slice], Tensor]:
    """z[piece] columns^T + bias, for pieces of up to ``rows`` rows. A result lasts until the next is asked for."""
    if z.device.type == "cpu" and _onednn_is_faster():
        return lambda piece: torch.ops.mkldnn._linear_pointwise(z[piece], columns, bias, "none", [], "")
    # The bias as one more channel costs the product nothing, and a buffer used again spares the page faults that a
    # fresh one costs: together a fifth of the time at 1024 codes, a third at 16384.
    left, right = torch.nn.functional.pad(z, (0, 1), value=1.0), torch.cat([columns, bias[:, None]], 1).t()
    buffer = z.new_empty(rows, len(columns))
    return lambda piece: torch.mm(left[piece], right, out=buffer[: len(left[piece])])


@functools.cache
def _onednn_is_faster() -> bool:
    """Than torch's own product: seen by trying, once a process. Its results settle to the same codes either way.

    On an AMD EPYC oneDNN takes half of MKL's time, on an Intel Xeon a fifth more.
    """
    if not (_HAS_ONEDNN and torch.backends.mkldnn.enabled):
        return False
    z, columns, bias, out = torch.ones(512, 256), torch.ones(1024, 256), torch.ones(1024), torch.empty(512, 1024)
    products = (
        lambda: torch.mm(z, columns.t(), out=out),
        lambda: torch.ops.mkldnn._linear_pointwise(z, columns, bias, "none", [], ""),
    )
    with _disable_current_modes():  # whoever counts operations does not mean these
        torchs, onednns = (min(timeit.repeat(product, number=1, repeat=5)[1:]) for product in products)
    return onednns < torchs


def _pick(scores: Tensor, width: int, tolerance: Tensor, z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """Column of the largest score (n, K) a row; rows whose runner-up is within ``tolerance`` (n,) go to fp64."""
    n, size = scores.shape
    table = scores.view(n, size // width, width)
    # The maximum of each group of columns is one vectorised pass; the exact place is then sought in one group only.
    heads = table.amax(2)
    best, group = heads.max(1, keepdim=True)
    first = torch.arange(0, n * heads.shape[1], heads.shape[1], device=z.device)
    inside = scores.view(-1, width).index_select(0, first + group[:, 0])
    place = inside.argmax(1, keepdim=True)
    index = (group * width + place)[:, 0]
    # What is left once the best is taken away is the runner-up: in its own group, or at the head of another.
    inside.scatter_(1, place, -math.inf)
    elsewhere = heads.scatter(1, group, -math.inf).amax(1)
    bar = best[:, 0] - tolerance
    doubtful = (torch.maximum(elsewhere, inside.amax(1)) >= bar).nonzero()[:, 0]
    if len(doubtful):
        index[doubtful] = _settle(table, heads, bar, doubtful, z, codebook, by_length)
    return index


def _settle(
    table: Tensor, heads: Tensor, bar: Tensor, doubtful: Tensor, z: Tensor, codebook: Tensor, by_length: bool
) -> Tensor:
    """The best code of each doubtful row among those with a score of at least ``bar``: in fp64, the lowest of equals.

    table (n, G, width) scores, heads (n, G) their maxima over width, bar (n,), doubtful (m,) rows -> (m,).
    """
    place, group = (heads[doubtful] >= bar[doubtful, None]).nonzero().unbind(1)
    owner = doubtful[place]
    pair, inside = (table[owner, group] >= bar[owner, None]).nonzero().unbind(1)
    code, place = group[pair] * table.shape[2] + inside, place[pair]
    real = code < len(codebook)  # where values overflow, even padding can pass the bar
    code, place = code[real], place[real]
    return _exact_best(place, code, doubtful, z, codebook, by_length)


def _exact_best(place: Tensor, code: Tensor, rows: Tensor, z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    """The best code of each of rows (m,) of z, in fp64, the lowest of equals; K for a row that none is given for.

    place, code (pairs,): a place in ``rows`` and a code to be compared for it.
    """
    cost = torch.empty(len(code), dtype=torch.float64, device=z.device)
    step = max(1, _RECHECK_NUMBERS // z.shape[1])
    for start in range(0, len(code), step):
        piece = slice(start, start + step)
        x, c = z[rows[place[piece]]].double(), codebook[code[piece]].double()
        cost[piece] = (x - c).square().sum(1) if by_length else -(x * c).sum(1)
    least = cost.new_full((len(rows),), math.inf).scatter_reduce_(0, place, cost, "amin")
    code = code.where(cost == least[place], len(codebook))
    return code.new_full((len(rows),), len(codebook)).scatter_reduce_(0, place, code, "amin")


def _group_width(size: int) -> int:
    """A power of two near the square root of the codebook size: whole vector registers."""
    return 2 ** (size.bit_length() // 2) if size >= 256 else min(size, 16)


def _rows_at_a_time(size: int, device: torch.device) -> int:
    """Rows whose scores fit the cache, or on a GPU a quarter GiB."""
    return max(64, min(1024, 2**22 // size)) if device.type == "cpu" else max(64, 2**26 // size)


def _input_rounding(device: torch.device) -> float:
    """Twice the relative rounding that matrix products may apply to fp32 inputs (TF32, bf16), by torch's settings."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    setting = getattr(backend.matmul, "fp32_precision", "none")
    if setting == "none":
        setting = getattr(torch.backends, "fp32_precision", "none")
    return {"ieee": 0.0, "none": 0.0, "tf32": 2.0**-10}.get(setting, 2.0**-7)


@torch.library.custom_op("quantizers::find_code", mutates_args=())
def _find_code_op(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    return find_code(z, codebook, by_length)


@_find_code_op.register_fake
def _(z: Tensor, codebook: Tensor, by_length: bool) -> Tensor:
    return torch.empty(z.shape[0], dtype=torch.int64, device=z.device)
