"""The steps of ``tokbench bench gpu``, the most telling first."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.bench.gpu.checks import nothing, tests
from tokbench.bench.gpu.drawing import draw, draw_work, next_scale, next_scale_work
from tokbench.bench.gpu.networks import step_of, step_work
from tokbench.bench.gpu.products import products, products_work
from tokbench.bench.gpu.rows import loading, loading_work, trained, trained_work
from tokbench.bench.gpu.search import lfq, lfq_work, search, search_work, ties
from tokbench.bench.gpu.step import Step
from tokbench.errors import TokbenchError, did_you_mean

_IMAGE, _VIDEO = "vqgan-f16-16384", "magvit2-video-ucf101"


def _search(codes: int, dims: tuple[int, ...], asks: str) -> Step:
    run, work = search(codes, *dims), search_work(codes, *dims)
    return Step(f"search-{codes}", f"K={codes}: {asks}", run, work, fixed=40, most=180)


def _tests(folder: str, asks: str, most: float) -> Step:
    return Step(f"tests-{folder}", asks, tests(folder), nothing, fixed=most / 3, most=most)


def _draw(batch: int, asks: str, most: float, graphs: bool = True, only: str = "") -> Step:
    key, how = f"draw-{batch}" + ("" if graphs else "-no-graphs"), {"graphs": graphs, "only": only}
    return Step(key, asks, draw(batch, **how), draw_work(batch, **how), fixed=25, most=most)  # type: ignore[arg-type]


def _row(quantizer: str) -> Step:
    asks = f"a row of tiny64-gan with {quantizer}"
    return Step(f"row-{quantizer}", asks, trained(quantizer), trained_work, fixed=90, most=420)


STEPS: list[Step] = [
    _tests("quantizers", "the Triton kernels, really compiled", 120),
    _draw(200, "16x16x1 against 8x8x4 at 1.4B: the paper's 5.6x", 150),
    _search(16384, (8, 64, 256), "3x the speed, a quarter of the memory"),
    Step(
        "step-image", "VQ-GAN's step at 256x256, beside taming's module", step_of(_IMAGE, "taming", 8, bar=1.5),
        step_work(_IMAGE, 8), fixed=150, most=300,
    ),
    _draw(500, "8x8x4 at 500: under 0.002 s an image", 240, only="RQ"),
    _tests("generators", "CUDA graphs draw what plain steps draw", 120),
    _tests("training", "half precision, compiled steps, exact resume, NCCL", 240),
    _draw(1, "a decoding step against its bandwidth floor", 90),
    Step("search-ties", "2^18 codes that are copies of vectors", ties, search_work(2**18, 8), fixed=40, most=120),
    Step("lfq", "LFQ at 2^14 and 2^18, exact", lfq, lfq_work, fixed=30, most=120),
    _draw(100, "the same at 100", 120),
    Step("products", "a layer's products beside their bytes, by library", products, products_work, fixed=90, most=240),
    _draw(200, "what CUDA graphs bring at 200", 150, graphs=False),
    _search(1024, (8, 64, 256), "a small codebook"),
    Step(
        "step-video", "MAGVIT-v2's video step, beside Open-MAGVIT2's layers",
        step_of(_VIDEO, "o2", 2, video=True, compiled=False), step_work(_VIDEO, 2, compiled=False), fixed=60, most=150,
    ),
    Step("next-scale", "VAR's drawing scale by scale against code by code", next_scale, next_scale_work, 25, 180),
    Step("loading", "whether workers keep up with a step", loading, loading_work, fixed=40, most=120),
    _search(65536, (8, 64), "a large codebook"),
    _search(262144, (8, 32), "2^18 codes"),
    _row("vq"), _row("rq"), _row("lfq"),
    Step("step-video-compiled", "the same in bf16, compiled", step_of(_VIDEO, "o2", 2, video=True),
         step_work(_VIDEO, 2), fixed=210, most=450),
]  # fmt: skip


def chosen(only: Sequence[str]) -> list[Step]:
    """All steps, or those asked for. TokbenchError for one that there is not."""
    known = {step.key: step for step in STEPS}
    for key in only:
        if key not in known:
            raise TokbenchError(f"--only {key}: no such step{did_you_mean(key, known)}")
    return [known[key] for key in only] if only else list(STEPS)
