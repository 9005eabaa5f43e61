"""The step about a layer's four products, which drawing waits for: by each library that can do them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.bench.gpu.account import Work, operator
from tokbench.bench.gpu.step import Answer, Setting
from tokbench.bench.sampling import bandwidth
from tokbench.bench.timing import medians
from tokbench.config.generator import SIZES

SIZE = "rq-1.4b"
_LAYERS = 6  # of weights of their own: read again at once, a layer's would come from the cache
_BATCHES = (1, 100, 200, 500)
_TURNS = 20
_LIBRARIES = ("cublas", "cublaslt")
_Layer = list[tuple[Tensor, Tensor]]


def products(setting: Setting) -> Answer:
    """Microseconds of a layer's products in CUDA graphs, beside the time that reading their weights takes."""
    device, width = setting.device, 32 if setting.tiny else SIZES[SIZE]["width"]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    layers = [_layer(width, device, dtype) for _ in range(_LAYERS)]
    moved = sum(weight.numel() * weight.element_size() for weight, _ in layers[0])
    floor = moved / bandwidth(device, 8 if setting.tiny else 512)
    batches = _BATCHES[:2] if setting.tiny else _BATCHES
    found: dict[int, dict[str, float]] = {batch: {"bytes alone": floor} for batch in batches}
    for way in [*(_LIBRARIES if device == "cuda" else ("torch",)), "compiled"]:  # what compiles comes last
        for batch in batches:
            x = torch.randn(batch, width, device=device, dtype=dtype)
            found[batch][way] = _seconds(way, x, layers, device)
        setting.keep(_answer(found))
    return _answer(found)


def products_work() -> Work:
    """Reading the weights, for every way, batch and turn."""
    moved = 2.0 * 12 * SIZES[SIZE]["width"] ** 2 * _LAYERS
    return operator(0.0, moved, "bf16").times((len(_LIBRARIES) + 1) * len(_BATCHES) * (_TURNS + 4))


def _answer(found: dict[int, dict[str, float]]) -> Answer:
    says = "; ".join(
        f"{batch} rows: " + ", ".join(f"{way} {seconds * 1e6:.0f} us" for way, seconds in ways.items())
        for batch, ways in found.items()
    )
    rows: list[dict[str, Any]] = [{"batch": batch, "seconds": ways} for batch, ways in found.items()]
    return Answer(says, {"layers": _LAYERS, "rows": rows})


def _layer(width: int, device: str, dtype: torch.dtype) -> _Layer:
    """Weights and biases of queries, keys and values; of what attention gives; of the MLP, up and down."""
    shapes = ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    made = [torch.randn(shape, device=device, dtype=dtype) / shape[1] ** 0.5 for shape in shapes]
    return [(weight, weight.new_zeros(len(weight))) for weight in made]


def _through(x: Tensor, layers: list[_Layer]) -> Tensor:
    """x (R, C) through the products of all layers, one after the other."""
    for qkv, out, up, down in layers:
        x = F.linear(F.linear(x, *qkv)[:, : x.shape[1]], *out)
        x = F.linear(F.linear(x, *up), *down)
    return x


@torch.no_grad()
def _seconds(way: str, x: Tensor, layers: list[_Layer], device: str) -> float:
    """Of one layer."""
    through: Callable[[Tensor, list[_Layer]], Tensor] = _through
    if way in _LIBRARIES:
        torch.backends.cuda.preferred_blas_library(way)
    elif way == "compiled":
        through = torch.compile(
            _through, mode="max-autotune-no-cudagraphs" if device == "cuda" else None, dynamic=False
        )
    work = _recorded(lambda: through(x, layers)) if device == "cuda" else lambda: through(x, layers)
    return medians({way: work}, _TURNS, device)[way] / _LAYERS


def _recorded(work: Callable[[], object]) -> Callable[[], object]:
    """As a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
