"""What only a GPU can show: graphs that draw what the plain steps draw, and at what speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tokbench.bench.sampling import bandwidth, compare, floor_seconds
from tokbench.config.generator import SIZES
from tokbench.generators import Generator, Sampling
from tokbench.generators.ar import AR
from tokbench.generators.ar_decoding import GraphedSampler

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_graphs_draw_the_same_codes(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", classes=4).cuda()
    assert isinstance(model, AR)
    sampling = Sampling(top_k=5, top_p=0.9, guidance=2.0, guidance_schedule="linear")
    sampler = GraphedSampler(model, 6, sampling)
    labels = torch.tensor([0, 1, 2, 3, 0, 1], device="cuda")
    for seed, first in ((3, 0), (4, 6)):
        images = torch.arange(first, first + 6, device="cuda")
        plain = model.generate(6, condition=labels, seed=seed, first=first, sampling=sampling)
        assert torch.equal(sampler(model.condition.check(labels, 6), seed, images), plain)


def test_cpu_and_gpu_draw_the_same_noise(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", classes=4)
    here = model.generate(8, condition=1, seed=0)
    there = model.cuda().generate(8, condition=1, seed=0).cpu()
    assert float((here == there).float().mean()) > 0.95  # equal but for near ties


def test_a_step_at_batch_1_is_within_twice_its_floor() -> None:
    """RQ 8x8x4 at 1.4B, bf16: time against reading the weights and caches alone."""
    size = SIZES["rq-1.4b"]
    timings = compare([1], **size, vocabulary=16384, device="cuda", dtype=torch.bfloat16)
    rq = next(t for t in timings if t.name.startswith("RQ"))
    assert rq.floor is not None
    print(f"{rq.seconds:.3f} s, floor {rq.floor:.3f} s at {bandwidth('cuda') / 1e12:.2f} TB/s")
    assert rq.seconds < 2 * rq.floor


def test_the_floor_counts_bytes(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar").cuda()
    assert isinstance(model, AR)
    assert floor_seconds(model, 1, 1e9) > 0
