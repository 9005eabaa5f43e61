"""Training steps of quantizers beside vector-quantize-pytorch's, in one run: seconds, peak memory, ratio, the floor."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import quantizers
from quantizers.functional.pyramid import VAR_SCALES
from tokbench.bench.plain_pyramid import PlainPyramid
from tokbench.bench.resident import growth, in_own_process
from tokbench.bench.timing import load, medians
from tokbench.errors import TokbenchError
from tokbench.results.environment import provenance


@dataclass(frozen=True)
class Case:
    """One training step: z (batch, tokens or H and W, dim) through ours, and through theirs where they can: a class of
    vector-quantize-pytorch, or "plain", what is written for this benchmark."""

    label: str
    shape: tuple[int, ...]
    ours: tuple[str, dict[str, Any]]
    theirs: tuple[str, dict[str, Any]] | None
    codebook: int | None = None  # K of the matrix products that any codebook search must do; none for LFQ
    products: int = 1
    heavy: bool = field(default=False)  # minutes, or many GiB, for theirs

    def alone(self) -> Case:
        """Without theirs."""
        return replace(self, theirs=None)


def vq_case(tokens: tuple[int, int], dim: int, size: int) -> Case:
    options = {"dim": dim, "codebook_size": size}
    label = f"VQ {tokens[0] * tokens[1]} x {dim}, K={size}"
    return Case(label, (*tokens, dim), ("vq", options), ("VectorQuantize", options), size)


def _rq(tokens: tuple[int, int], dim: int, size: int, depth: int) -> Case:
    theirs = {"dim": dim, "codebook_size": size, "num_quantizers": depth, "shared_codebook": True}
    label = f"RQ D={depth} shared, {tokens[0] * tokens[1]} x {dim}, K={size}"
    ours = {"dim": dim, "codebook_size": size, "depth": depth}
    return Case(label, (*tokens, dim), ("rq", ours), ("ResidualVQ", theirs), size, depth)


def _ms_rq(batch: int, dim: int, size: int) -> Case:
    options = {"dim": dim, "codebook_size": size, "scales": list(VAR_SCALES)}
    side = VAR_SCALES[-1]
    label = f"MS-RQ ten scales, {batch} x {side}x{side}x{dim}, K={size}"
    ours = ("ms-rq", {**options, "codebook_update": "gradient"})
    return Case(label, (batch, side, side, dim), ours, ("plain", options))


def lfq_case(bits: int, theirs: bool = True, heavy: bool = False) -> Case:
    options = {"dim": bits, "codebook_size": 2**bits}
    beside = ("LFQ", options) if theirs else None
    return Case(f"LFQ 2^{bits}, 4096 tokens", (16, 256, bits), ("lfq", options), beside, heavy=heavy)


CPU_CASES = [
    vq_case((16, 256), 256, 1024),
    vq_case((16, 256), 256, 16384),
    _rq((16, 64), 256, 2048, 4),
    _rq((16, 64), 256, 16384, 4),
    _ms_rq(16, 32, 4096),
    lfq_case(10),
    lfq_case(14),
    lfq_case(16, heavy=True),
    lfq_case(18, theirs=False),
]
GPU_CASES = [vq_case((32, 1024), 256, 16384), vq_case((32, 1024), 8, 16384), lfq_case(14), lfq_case(18, theirs=False)]


def bench_quantizers(
    *,
    device: str = "cpu",
    only: str | None = None,
    repeats: int = 5,
    memory: bool = True,
    heavy: bool = False,
    cases: Sequence[Case] | None = None,
) -> dict[str, Any]:
    """Time forward + backward + codebook update in fp32, ours and theirs taking turns; medians.

    Args:
        only: run the cases whose label contains this.
        memory: also measure the peak: on a GPU the allocator's, on CPU the growth of a fresh process's resident set.
        heavy: run vector-quantize-pytorch's LFQ at 2^16 too (7.4 GiB, minutes).
        cases: these instead of the device's usual ones.

    Returns:
        ``created``, ``git``, ``environment``, ``device``, ``threads``, ``load`` (of the machine when it began) and
        ``rows``: ``case``, ``seconds``, ``theirs_seconds``, ``ratio``, ``floor_seconds`` (the bare matrix products),
        ``peak_mib``, ``theirs_peak_mib``; None where there is nothing to measure.
    """
    where = torch.device(device)
    usual = GPU_CASES if where.type == "cuda" else CPU_CASES
    cases = [c for c in (usual if cases is None else cases) if only is None or only in c.label]
    if not cases or repeats < 1:
        raise TokbenchError(f"nothing to time: no case contains {only!r}, or repeats {repeats} is below 1")
    began, rows = load(), []
    for case in cases:
        sides = ["ours", "theirs"] if case.theirs is not None and (heavy or not case.heavy) else ["ours"]
        seconds = medians({side: _step(case, side, where) for side in sides}, repeats, where)
        gc.collect()
        peaks = {side: _peak(case, side, where) if memory else None for side in sides}
        theirs = seconds.get("theirs")
        rows.append(
            {
                "case": case.label,
                "seconds": seconds["ours"],
                "theirs_seconds": theirs,
                "ratio": theirs / seconds["ours"] if theirs is not None else None,
                "floor_seconds": _floor(case, repeats, where),
                "peak_mib": peaks["ours"],
                "theirs_peak_mib": peaks.get("theirs"),
            }
        )
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU"
    return {
        **provenance(),
        "device": name,
        "threads": torch.get_num_threads(),
        "load": began,
        "repeats": repeats,
        "rows": rows,
    }


def _build(case: Case, side: str) -> nn.Module:
    if side == "ours":
        return quantizers.build(case.ours[0], **case.ours[1])
    assert case.theirs is not None
    if case.theirs[0] == "plain":
        return PlainPyramid(**case.theirs[1])
    import vector_quantize_pytorch

    return getattr(vector_quantize_pytorch, case.theirs[0])(**case.theirs[1])


def _step(case: Case, side: str, device: torch.device) -> Callable[[], None]:
    """A training step as a function without arguments."""
    torch.manual_seed(0)
    module, data = _build(case, side).to(device).train(), torch.randn(case.shape, device=device)

    def step() -> None:
        z = data.clone().requires_grad_(True)
        quantized, *rest = tuple(module(z))
        losses = [t.sum() for t in rest if isinstance(t, Tensor) and t.is_floating_point()]
        (quantized.sum() + sum(losses)).backward()

    return step


def _floor(case: Case, repeats: int, device: torch.device) -> float | None:
    """Seconds of torch's own matrix products of this size, which a codebook search cannot do without."""
    if case.codebook is None:
        return None
    *rows, dim = case.shape
    z, codebook = torch.randn(math.prod(rows), dim, device=device), torch.randn(case.codebook, dim, device=device)
    return medians({"product": lambda: z @ codebook.T}, repeats, device)["product"] * case.products


def _peak(case: Case, side: str, device: torch.device) -> float | None:
    """MiB that one step takes beyond the module and its input; on CPU only where there is Linux's account of it."""
    if device.type == "cuda":
        step = _step(case, side, device)
        step()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    return in_own_process("tokbench.bench.quantizers:resident_growth", case.label, side, what=case.label)


def resident_growth(label: str, side: str) -> None:
    """Print the MiB by which one step of a CPU case makes this process grow at its peak."""
    case = next(c for c in CPU_CASES if c.label == label)
    print(growth(_step(case, side, torch.device("cpu"))))
