"""Gumbel against taming's own class, and its temperature."""

from __future__ import annotations

import math

import pytest
import torch

import quantizers as Q


@pytest.mark.parametrize("straight_through", [True, False])
def test_tamings_own_class(straight_through: bool) -> None:
    """Values, codes, loss and gradients under the same noise: one position, so that both draw it in the same order."""
    official_module = pytest.importorskip(
        "taming.modules.vqvae.quantize", reason="taming-transformers is not installed (tokbench[peers])"
    )
    torch.manual_seed(0)
    official = official_module.GumbelQuantize(8, 8, 50, straight_through=straight_through, temp_init=0.7)
    ours = Q.Gumbel(
        8, 50, straight_through=straight_through, temperature_end=0.7, temperature_steps=0, channel_first=True
    )
    ours.load_codebook(
        official.embed.weight.detach(),
        logits=official.proj.weight.detach()[..., 0, 0],
        bias=official.proj.bias.detach(),
    )
    z, upstream = torch.randn(64, 8, 1, 1), torch.randn(64, 8, 1, 1)
    results = []
    for module in (official, ours):
        inputs = z.clone().requires_grad_()
        torch.manual_seed(1)
        out = module(inputs)
        if module is official:
            quantized, loss, (_, _, codes) = out
        else:
            quantized, codes, loss = out
        ((quantized * upstream).sum() + 100 * loss).backward()
        results.append((quantized, loss, codes.reshape(-1), inputs.grad))
    for theirs, mine in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.weight.grad, official.embed.weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.logits.weight.grad, official.proj.weight.grad[..., 0, 0], rtol=1e-4, atol=1e-6)


def test_the_temperature_falls_along_half_a_cosine_by_optimizer_steps() -> None:
    q = Q.Gumbel(4, 8, temperature_start=2.0, temperature_end=0.5, temperature_steps=4)
    q.update_every = 2
    seen = [float(q.train()(torch.randn(1, 3, 4)).losses["temperature"]) for _ in range(12)]
    wanted = [0.5 + 1.5 * (1 + math.cos(math.pi * min(step, 4) / 4)) / 2 for step in range(6) for _ in range(2)]
    assert seen == pytest.approx(wanted, rel=1e-5)
    fresh = Q.Gumbel(4, 8, temperature_start=2.0, temperature_end=0.5, temperature_steps=4)
    fresh.load_state_dict(q.state_dict())
    fresh.update_every = 2
    assert float(fresh.temperature()) == pytest.approx(0.5)  # a resumed run goes on where it was


def test_codes_are_certain_in_evaluation_and_drawn_in_training() -> None:
    torch.manual_seed(0)
    q = Q.Gumbel(4, 8)
    z = torch.randn(1, 1, 4).expand(2, 4000, 4)
    assert len(q.eval().encode(z).unique()) == 1
    wanted = q.soft_targets(z)[0, 0, 0]
    for codes in (q.sample(z), q.train()(z).indices):
        share = torch.bincount(codes.flatten(), minlength=8) / codes.numel()
        assert (share - wanted).abs().max() < 0.03
    assert float(q.train()(z).losses["kl"]) == pytest.approx(float((wanted * (wanted * 8).log()).sum()), rel=1e-4)


def test_temperatures_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature_end must be"):
        Q.Gumbel(4, 8, temperature_end=0.0)
    with pytest.raises(ValueError, match="the map to the logits is"):
        Q.Gumbel(4, 8).load_codebook(torch.ones(8, 4), logits=torch.ones(8, 3), bias=torch.ones(8))
