"""Steps about drawing: 16x16x1 against 8x8x4 at 1.4B, with CUDA graphs and without, and scale by scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from tokbench.bench.gpu.account import Work
from tokbench.bench.gpu.memory import sampler
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.bench.next_scale import compare_next_scale
from tokbench.bench.sampling import Timing, compare, contenders
from tokbench.config.generator import SIZES

SIZE = "rq-1.4b"
VOCABULARY = 16384
_TINY = {"width": 16, "heads": 2, "layers": 2, "depth_layers": 1}
_D16 = {"width": 1024, "heads": 16, "layers": 16, "vocabulary": 4096}  # VAR's smallest
_TURNS = 2
FASTER = {200: 5.6}  # Lee et al. 2022, arXiv:2203.01941, figure 4
SECONDS = {500: 0.002}  # an image, by RQ-Transformer
NEAR_FLOOR = 2.0  # times the bytes' own time, at batch 1


def _sizes(tiny: bool) -> dict[str, Any]:
    return {**(_TINY if tiny else SIZES[SIZE]), "vocabulary": 64 if tiny else VOCABULARY}


def _dtype(setting: Setting) -> torch.dtype:
    return torch.bfloat16 if setting.device == "cuda" else torch.float32


def draw(batch: int, *, graphs: bool = True, only: str = "") -> Callable[[Setting], Answer]:
    """Both contenders at one batch size, or the one whose name begins so."""

    def run(setting: Setting) -> Answer:
        size = min(batch, 2) if setting.tiny else batch
        timings = compare(
            [size], device=setting.device, dtype=_dtype(setting), turns=_TURNS, graphs=graphs, only=only,
            **_sizes(setting.tiny),
        )  # fmt: skip
        by_name = {timing.name[:2]: timing for timing in timings}
        rq, vq = by_name["RQ"], by_name.get("VQ")
        bars = _bars(batch, vq, rq) if graphs else []
        says = f"8x8x4 {rq.per_image:.5f} s an image"
        says += f", 16x16x1 {vq.per_image:.5f}: {vq.seconds / rq.seconds:.2f}x" if vq else ""
        says += f", {rq.seconds / rq.floor:.2f} times the bytes' time" if rq.floor else ""
        return Answer(says, {"graphs": graphs, "rows": [asdict(t) for t in timings]}, bars)

    return run


def _bars(batch: int, vq: Timing | None, rq: Timing) -> list[Bar]:
    bars = []
    if batch in FASTER and vq is not None:
        bars.append(Bar(f"8x8x4 over 16x16x1 at {batch}, times as fast", vq.seconds / rq.seconds, FASTER[batch]))
    if batch in SECONDS:
        bars.append(Bar(f"seconds an image of 8x8x4 at {batch}", rq.per_image, SECONDS[batch], least=False))
    if batch == 1 and rq.floor:
        bars.append(Bar("a drawing at 1, times the bytes' time", rq.seconds / rq.floor, NEAR_FLOOR, least=False))
    return bars


def draw_work(batch: int, *, graphs: bool = True, only: str = "") -> Callable[[], Work]:
    """Of each, every turn, and once more for recording the graphs."""

    def work() -> Work:
        sizes = _sizes(tiny=False)
        total, shape = Work(), (sizes["width"], sizes["heads"], sizes["vocabulary"])
        for contender in contenders(sizes["layers"], sizes["depth_layers"]):
            if contender.name.startswith(only):
                total = total + sampler(contender, *shape, batch, graphs=graphs).times(_TURNS + 2)
        return total

    return work


def next_scale(setting: Setting) -> Answer:
    """``var`` against ``ar`` on the 680 codes of ten scales."""
    sizes: dict[str, Any] = {"width": 16, "heads": 2, "layers": 1, "vocabulary": 16} if setting.tiny else _D16
    batch = 1 if setting.tiny else 64
    timings = compare_next_scale([batch], **sizes, device=setting.device, dtype=_dtype(setting), turns=_TURNS)
    var, ar = (next(t for t in timings if t.generator == name) for name in ("var", "ar"))
    says = f"var {var.per_image:.5f}, ar {ar.per_image:.5f} s an image, {ar.seconds / var.seconds:.1f}x"
    return Answer(says, {"rows": [asdict(t) for t in timings]})


def next_scale_work() -> Work:
    """The weights once for each of 680 codes, and the products of 64 images."""
    weights = 12 * _D16["width"] ** 2 * _D16["layers"]
    reading = Work(bytes=2.0 * weights * 680, seconds=680 * (2.0 * weights / 1.7e12 + 2e-4))
    products = Work(flops=2.0 * weights * 680 * 64 * 2, seconds=2.0 * weights * 680 * 64 * 2 / 4e14)
    return (reading + products).times(_TURNS + 2)
