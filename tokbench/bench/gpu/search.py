"""Steps about quantizers: N vectors against K codes of d channels, beside vector-quantize-pytorch and the floors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quantizers.functional import index_to_bits, lfq_entropy, nearest_code
from quantizers.functional.nearest import find_fused, find_in_pieces
from tokbench.bench.gpu.account import BANDWIDTH, Work, operator
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.bench.quantizers import Case, bench_quantizers, lfq_case, vq_case
from tokbench.bench.timing import medians

VECTORS = (32, 1024)  # N = 32768
_EXACT = 512  # rows that a brute force in fp64 checks
_TEMPERATURE = 0.1
_TURNS = 5


def sizes(setting: Setting, codes: int, dims: tuple[int, ...]) -> list[tuple[tuple[int, int], int, int]]:
    """(vectors, d, K), smaller in a rehearsal."""
    if setting.tiny:
        return [((2, 64), min(d, 8), 64) for d in dims[:1]]
    return [(VECTORS, d, codes) for d in dims]


def search(codes: int, *dims: int) -> Callable[[Setting], Answer]:
    """Training step and encode of VQ at K = ``codes`` for each d."""

    def run(setting: Setting) -> Answer:
        rows: list[dict[str, Any]] = []
        for n, d, k in sizes(setting, codes, dims):
            if rows:
                setting.keep(_answer(codes, rows))
            rows.append(_row(vq_case(n, d, k), setting))
        return _answer(codes, rows)

    return run


def _answer(codes: int, rows: list[dict[str, Any]]) -> Answer:
    wrong = sum(row["wrong"] for row in rows)
    bars = [Bar("codes that a brute force in fp64 finds nearer", wrong, 0, least=False)]
    if codes == 16384 and rows[-1]["ratio"] is not None:
        label = f"d={rows[-1]['dim']}: "
        bars.append(Bar(f"{label}train step, times as fast as vector-quantize-pytorch", rows[-1]["ratio"], 3.0))
        share = _ratio(rows[-1]["peak_mib"], rows[-1]["theirs_peak_mib"])
        bars.append(Bar(f"{label}peak memory, share of theirs", share, 0.25, least=False))
    says = ", ".join(
        f"d={row['dim']}: {row['seconds'] * 1e3:.2f} ms ({_times(row['ratio'])}), encode "
        f"{row['encode_seconds'] * 1e3:.2f} ms"
        for row in rows
    )
    return Answer(says, {"rows": rows}, bars)


def search_work(codes: int, *dims: int) -> Callable[[], Work]:
    """Ours and theirs: the products of a step in fp32, and of theirs the matrix of distances written and read."""

    def work() -> Work:
        n, total = math.prod(VECTORS), Work()
        for dim in dims:
            product = operator(2.0 * n * codes * dim, 4.0 * (n + codes) * dim, "fp32")
            matrix = operator(0.0, 4.0 * 8 * n * codes, "fp32")
            total = total + product.times(6 * _TURNS) + matrix.times(_TURNS)
        return total

    return work


def _row(case: Case, setting: Setting) -> dict[str, Any]:
    try:
        [found] = _timed([case], setting)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        [found] = _timed([case.alone()], setting)
        found["theirs_failed"] = "out of memory"
    *_, dim = case.shape
    assert case.codebook is not None
    device = torch.device(setting.device)
    z = torch.randn(math.prod(case.shape[:-1]), dim, device=device)
    codebook = torch.randn(case.codebook, dim, device=device)
    ways: dict[str, Callable[[], object]] = {"encode_seconds": lambda: nearest_code(z, codebook)}
    if z.shape[0] * case.codebook * 4 < 20e9:
        ways["compiled_brute_force_seconds"] = _compiled(z, codebook)
    ways["product_seconds"] = lambda: z @ codebook.T
    found |= medians(ways, _TURNS, device)
    found["bandwidth_floor_seconds"] = 4.0 * (z.numel() + codebook.numel()) / BANDWIDTH
    found |= {"dim": dim, "codes": case.codebook, "wrong": _wrong(z[:_EXACT], codebook)}
    return found


def _timed(cases: list[Case], setting: Setting) -> list[dict[str, Any]]:
    """Rows of ``bench_quantizers``."""
    memory = setting.device == "cuda"
    found = bench_quantizers(cases=cases, device=setting.device, memory=memory, repeats=_TURNS)
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def _compiled(z: Tensor, codebook: Tensor) -> Callable[[], object]:
    def brute_force(z: Tensor, codebook: Tensor) -> Tensor:
        return (z @ codebook.T - 0.5 * codebook.square().sum(1)).argmax(1)

    compiled = torch.compile(brute_force)
    return lambda: compiled(z, codebook)


def _wrong(z: Tensor, codebook: Tensor) -> int:
    """Rows whose code is farther than another, in fp64 by differences; a few rows at a time."""
    codes, wrong = nearest_code(z, codebook), 0
    step = max(1, 2**27 // codebook.numel())
    for rows, found in zip(z.split(step), codes.split(step), strict=True):
        distances = (rows.double()[:, None] - codebook.double()).square().sum(-1)
        wrong += int((distances.gather(1, found[:, None])[:, 0] > distances.amin(1)).sum())
    return wrong


def ties(setting: Setting) -> Answer:
    """Codes that are copies of vectors, as restarted ones are where there are fewer vectors: nearly every row is a near
    tie. With lists of the codes near the best, and by searching such rows again as a whole."""
    (shape, dim, codes) = sizes(setting, 2**18, (8,))[0]
    device, n = torch.device(setting.device), math.prod(shape)
    z = torch.randn(n, dim, device=device)
    far, codebook = torch.randn(codes, dim, device=device), z[torch.randint(n, (codes,), device=device)]
    codebook += 1e-6 * torch.randn_like(codebook)
    fused = device.type == "cuda"  # elsewhere there is one way
    lists = functools.partial(find_fused if fused else find_in_pieces, z, codebook, True)
    whole = functools.partial(find_fused, z, codebook, True, 0) if fused else lists
    ways: dict[str, Callable[[], object]] = {"lists": lists, "whole": whole, "apart": lambda: nearest_code(z, far)}
    seconds = medians(ways, _TURNS, device)
    [row] = _timed([vq_case(shape, dim, codes).alone()], setting)
    differ = int((lists() != whole()).sum())
    bars = [
        Bar("rows for which the two ways differ", differ, 0, least=False),
        Bar("codes that a brute force in fp64 finds nearer", _wrong(z[:_EXACT], codebook), 0, least=False),
    ]
    says = f"K={codes}, d={dim}: near ties {seconds['lists'] * 1e3:.2f} ms by lists, {seconds['whole'] * 1e3:.2f} ms "
    says += f"whole, {seconds['apart'] * 1e3:.2f} ms without ties; train step {row['seconds'] * 1e3:.2f} ms"
    return Answer(says, {"seconds": seconds, "row": row}, bars)


def lfq(setting: Setting) -> Answer:
    """LFQ at 2^14 beside vector-quantize-pytorch, and at 2^18, where the whole entropy is to be exact."""
    bits = (4, 6) if setting.tiny else (14, 18)
    cases = [lfq_case(bits[0]), lfq_case(bits[1], theirs=False)]
    rows = _timed(cases, setting)
    noise = torch.Generator(setting.device).manual_seed(0)
    z = 0.3 * torch.randn(256, bits[1], device=setting.device, generator=noise)
    with torch.no_grad():
        found, wanted = lfq_entropy(z, _TEMPERATURE), _entropies(z)
    apart = max(abs(float(a) / b - 1) for a, b in zip(found, wanted, strict=True))
    label = f"entropies at 2^{bits[1]}, relative to all codes in fp64"
    says = ", ".join(f"{row['case']}: {row['seconds'] * 1e3:.2f} ms ({_times(row['ratio'])})" for row in rows)
    return Answer(says, {"rows": rows, "apart": apart}, [Bar(label, apart, 1e-4, least=False)])


def lfq_work() -> Work:
    """The joint probabilities of 4096 tokens at both sizes, and theirs at 2^14 with its N x K matrix."""
    ours = operator(2.0 * 4096 * 2**18 * 3, 4.0 * 3 * 2**18, "fp32").times(2 * _TURNS)
    return ours + operator(2.0 * 4096 * 2**14 * 14 * 3, 4.0 * 12 * 4096 * 2**14, "fp32").times(_TURNS)


def _entropies(z: Tensor) -> tuple[float, float]:
    """Per-sample and codebook entropy over all codes in fp64, some tokens at a time."""
    bits, own = z.shape[-1], 0.0
    corners = index_to_bits(torch.arange(2**bits, device=z.device), bits).double() * 2 - 1
    mean = torch.zeros(2**bits, dtype=torch.float64, device=z.device)
    for piece in z.double().split(32):
        log_p = (2 * piece @ corners.T / _TEMPERATURE).log_softmax(-1)
        mean += log_p.exp().sum(0)
        own -= float((log_p.exp() * log_p).sum())
    mean /= len(z)
    return own / len(z), -float((mean * mean.clamp_min(1e-300).log()).sum())


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if not ours or not theirs else ours / theirs


def _times(ratio: float | None) -> str:
    return "alone" if ratio is None else f"{ratio:.2f}x the peer's speed"
