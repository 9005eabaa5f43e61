"""What only a GPU can show of drawing: graphs that draw what the plain steps draw, and what the CPU draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gpu_device import DEVICE, ON_GPU

from tokbench.bench.sampling import bandwidth, floor_seconds
from tokbench.generators import Generator, Sampling, stepping
from tokbench.generators.ar import AR
from tokbench.generators.ar_decoding import GraphedSampler
from tokbench.generators.transformer import Transformer, axial_rotation

pytestmark = ON_GPU


def test_graphs_draw_the_same_codes(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", classes=4).to(DEVICE)
    assert isinstance(model, AR)
    sampling = Sampling(top_k=5, top_p=0.9, guidance=2.0, guidance_schedule="linear")
    sampler = model.batch_sampler(6, sampling)
    assert isinstance(sampler, GraphedSampler) == (DEVICE == "cuda")
    labels = torch.tensor([0, 1, 2, 3, 0, 1], device=DEVICE)
    for seed, first in ((3, 0), (4, 6)):
        images = torch.arange(first, first + 6, device=DEVICE)
        plain = model.generate(6, condition=labels, seed=seed, first=first, sampling=sampling)
        assert torch.equal(sampler(model.condition.check(labels, 6), seed, images), plain)


def test_cpu_and_gpu_draw_the_same_noise(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", classes=4)
    here = model.generate(8, condition=1, seed=0)
    there = model.to(DEVICE).generate(8, condition=1, seed=0).cpu()
    assert float((here == there).float().mean()) > 0.95  # equal but for near ties


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_a_fused_step_is_the_plain_one(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, near: float) -> None:
    """Rotation and hidden places included; as many places as make several blocks."""
    stack = Transformer(96, 3, 2).to(DEVICE, dtype).eval()
    turns = axial_rotation((9, 9), 32).to(DEVICE)
    shown = torch.rand(5, 82, device=DEVICE) > 0.3
    shown[:, 0] = True
    inputs = torch.randn(82, 5, 96, device=DEVICE, dtype=dtype)
    drawn = []
    for fuses in (stepping.fuses, lambda x, cache: False):
        monkeypatch.setattr(stepping, "fuses", fuses)
        steps = stepping.Steps(stack, 5, 82)
        with torch.inference_mode():
            drawn.append(torch.stack([steps(x, at, turns, shown) for at, x in enumerate(inputs)]))
    assert torch.allclose(*drawn, atol=near, rtol=near)


def test_the_floor_counts_bytes(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar").to(DEVICE)
    assert isinstance(model, AR)
    assert floor_seconds(model, 1, bandwidth(DEVICE)) > 0
