"""GAN losses, LeCam, R1 and the adaptive weight against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tokbench.losses import LeCam, adaptive_weight, discriminator_loss, generator_loss, r1_penalty
from tokbench.losses.adversarial import accuracy

REAL, FAKE = torch.tensor([[2.0, -0.5]]), torch.tensor([[-3.0, 1.0]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("hinge", 0.5 * ((0 + 1.5) / 2 + (0 + 2) / 2)),
        ("non-saturating", 0.5 * ((0.126928 + 0.974077) / 2 + (0.048587 + 1.313262) / 2)),
        ("least-squares", 0.5 * ((1 + 2.25) / 2 + (9 + 1) / 2)),
    ],
)
def test_discriminator_losses_on_numbers_worked_out_by_hand(kind: str, expected: float) -> None:
    assert discriminator_loss(kind, REAL, FAKE).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("hinge", 1.0),
        ("non-saturating", (3.048587 + 0.313262) / 2),
        ("non-saturating-mean", 1.313262),  # softplus of minus the mean logit, -1
        ("least-squares", 0.5 * (16 + 0) / 2),
    ],
)
def test_generator_terms_on_numbers_worked_out_by_hand(kind: str, expected: float) -> None:
    assert generator_loss(kind, FAKE).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["hinge", "non-saturating", "least-squares"])
def test_the_two_sides_pull_apart(kind: str) -> None:
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    discriminator_loss(kind, real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad >= 0).all()
    wanted = torch.zeros(3, requires_grad=True)
    generator_loss(kind, wanted).backward()
    assert (wanted.grad < 0).all()


def test_unknown_losses_are_named() -> None:
    for function in (lambda: discriminator_loss("wgan", REAL, FAKE), lambda: generator_loss("wgan", FAKE)):
        with pytest.raises(ValueError, match="'wgan'.*hinge"):
            function()


def test_accuracy_counts_each_side_of_its_border() -> None:
    assert [a.item() for a in accuracy("hinge", REAL, FAKE)] == [0.5, 0.5]
    real, fake = torch.tensor([0.4, 0.6, 0.7]), torch.tensor([0.4, 0.6, 0.7])
    assert [a.item() for a in accuracy("least-squares", real, fake)] == pytest.approx([2 / 3, 1 / 3])


def test_adaptive_weight_is_the_ratio_of_norms_within_bounds() -> None:
    nll, generator = torch.tensor([3.0, 4.0]), torch.tensor([[0.0, 2.0]])
    assert adaptive_weight(nll, generator, 1e-4, 1e4).item() == pytest.approx(5 / 2.0001)
    assert adaptive_weight(nll, torch.zeros(2), 1e-6, 1e4).item() == 1e4
    assert adaptive_weight(torch.zeros(2), generator, 1e-4, 1e4).item() == 0
    assert not adaptive_weight(nll.requires_grad_(), generator, 1e-4, 1e4).requires_grad


def test_lecam_holds_each_side_near_the_others_average() -> None:
    lecam = LeCam(decay=0.9)
    lecam.update(torch.tensor(2.0), torch.tensor(-1.0))
    assert lecam.real.item() == pytest.approx(0.2) and lecam.fake.item() == pytest.approx(-0.1)
    real, fake = torch.tensor([1.0, -3.0]), torch.tensor([-0.3, 4.0])
    expected = ((1.1**2 + 0) + (0.5**2 + 0)) / 2
    assert lecam(real, fake).item() == pytest.approx(expected)
    assert set(lecam.state_dict()) == {"real", "fake"}  # or a resumed run would forget them


def test_r1_is_the_squared_slope_of_a_linear_discriminator_and_trains_it() -> None:
    linear = nn.Linear(12, 1)
    images = torch.randn(5, 3, 2, 2)
    penalty = r1_penalty(lambda x: linear(x.flatten(1)), images)
    assert penalty.item() == pytest.approx(linear.weight.square().sum().item(), rel=1e-5)
    penalty.backward()
    assert torch.allclose(linear.weight.grad, 2 * linear.weight, atol=1e-6)
    assert images.grad is None
