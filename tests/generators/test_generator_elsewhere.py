"""Every generator on a device other than the CPU: nothing of it stays behind, it learns and draws the same, and looks
at no values while it draws, which a GPU would wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from elsewhere import Elsewhere, On, without_inference_mode

from tokbench.config.generator import GeneratorConfig, VARGeneratorConfig
from tokbench.config.model import QuantizerConfig
from tokbench.generators import Generator, Sampling, build, kernels
from tokbench.generators.ar_decoding import Draw

Make = Callable[..., Generator]
KINDS: dict[str, dict[str, Any]] = {
    "ar": {"name": "ar"},
    "ar-codes": {"name": "ar", "input": "codes", "positions": "rotary", "order": "spiral-in", "pkeep": 0.5},
    "mlm": {"name": "mlm"},
    "mlm-bits": {"name": "mlm", "input": "bits", "positions": "rotary", "vocabulary": (8, 8)},
    "pixelsnail": {"name": "pixelsnail"},
    "var": {"name": "var"},
}
SAMPLINGS = {
    "plain": Sampling(),
    "filtered": Sampling(top_k=5, top_p=0.9, guidance=2.0, guidance_schedule="linear", steps=4),
}
_AT_WHAT_IS_GIVEN = 6  # looks at a condition and at what is kept, before the first code


def _make(make_generator: Make, kind: str) -> Generator:
    if kind != "var":
        return make_generator(**KINDS[kind], classes=5)
    torch.manual_seed(0)
    settings = VARGeneratorConfig(width=24, heads=2, layers=2, class_conditional=True)
    pyramid = QuantizerConfig.model_validate({"name": "ms-rq", "dim": 4, "codebook_size": 7, "scales": [1, 2, 3]})
    config = GeneratorConfig(generator=settings, shape=(14, 1), vocabulary=(7,), num_classes=5, pyramid=pyramid)
    made = build(config)
    for parameter in made.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_learns_where_it_is_put(make_generator: Make, kind: str) -> None:
    def run(device: str) -> list[torch.Tensor]:
        model = _make(make_generator, kind).to(device).train()
        codes = torch.randint(7, (3, *model.shape), generator=torch.Generator().manual_seed(0)).to(device)
        torch.manual_seed(0)
        loss = model.loss(codes, torch.tensor([0, 1, 2], device=device))
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    here = run("cpu")
    with On("lazy"):
        there = run("lazy")
    for mine, theirs in zip(here, there, strict=True):
        assert isinstance(theirs, Elsewhere) and theirs.device.type == "lazy"
        torch.testing.assert_close(mine, theirs.values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_on_a_gpu_what_it_draws_here(make_generator: Make, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(kernels, "HAVE_TRITON", False)  # they are not for a device that is not there
    without_inference_mode(monkeypatch, Draw, "position")
    model = _make(make_generator, kind)
    codes = {how: model.generate(3, condition=1, seed=4, sampling=of) for how, of in SAMPLINGS.items()}
    nll = model.nll(codes["plain"], 1)
    with On("cuda") as on:
        there = model.to("cuda")
        for how, of in SAMPLINGS.items():
            on.looks.clear()
            drawn = there.generate(3, condition=1, seed=4, sampling=of)
            assert isinstance(drawn, Elsewhere) and torch.equal(drawn.values, codes[how])
            assert sum(on.looks.values()) <= _AT_WHAT_IS_GIVEN, on.looks
        torch.testing.assert_close(there.nll(codes["plain"].to("cuda"), 1).values, nll, rtol=1e-6, atol=0)
