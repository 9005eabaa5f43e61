"""The reconstruction loss is the weighted sum it says; LPIPS without weights says how to get them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokbench import weights
from tokbench.config.loss import AdversarialConfig, LossConfig
from tokbench.errors import TokbenchError
from tokbench.losses import ReconstructionLoss


def test_terms_are_unweighted_and_their_sum_is_not() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8, requires_grad=True)
    nll, terms = ReconstructionLoss(LossConfig(l1=0.1, l2=3.0))(y, x)
    assert terms["l1"].item() == pytest.approx((x - y).abs().mean().item())
    assert terms["l2"].item() == pytest.approx((x - y).square().mean().item())
    assert nll.item() == pytest.approx(0.1 * terms["l1"].item() + 3 * terms["l2"].item(), rel=1e-6)
    nll.backward()
    assert y.grad is not None and not any(t.requires_grad for t in terms.values())


def test_missing_lpips_weights_are_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    with pytest.raises(TokbenchError, match="tokbench weights get lpips-vgg") as error:
        ReconstructionLoss(LossConfig(perceptual={"net": "vgg"}))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_added_with_its_gradient(users_cache: None, net: str) -> None:
    if weights.find(f"lpips-{net}") is None:
        pytest.skip(f"the weights lpips-{net} are not in the cache")
    torch.manual_seed(0)
    x, y = torch.rand(2, 3, 32, 32) - 0.5, torch.rand(2, 3, 32, 32, requires_grad=True)
    loss = ReconstructionLoss(LossConfig(l1=1.0, l2=0.0, perceptual={"net": net, "weight": 2.0}))
    nll, terms = loss(y, x)
    assert nll.item() == pytest.approx(terms["l1"].item() + 2 * terms["perceptual"].item(), rel=1e-5)
    nll.backward()
    assert y.grad.abs().sum() > 0 and not list(loss.state_dict())
    assert loss(x, x)[0].item() == 0


def test_the_switch_on_is_counted_in_steps() -> None:
    config = AdversarialConfig(start=10, warmup=5, ramp=3)
    assert [config.active(s) for s in (9, 10)] == [False, True]
    assert [config.generator_factor(s) for s in (0, 14, 15, 16, 17, 18, 99)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert AdversarialConfig().generator_factor(0) == 1


def test_a_loss_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="all off"):
        LossConfig(l1=0, l2=0)
    assert LossConfig(l1=0, l2=0, perceptual={"net": "alex"}).perceptual.weight == 1
