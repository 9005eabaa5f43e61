"""Differentiable augmentation: what each policy may and may not do."""

from __future__ import annotations

import pytest
import torch

from tokbench.losses import augment


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(64, 3, 16, 24) + 0.5  # nowhere zero


def test_no_policy_changes_nothing(images: torch.Tensor) -> None:
    assert augment(images, ()) is images


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_zeros(images: torch.Tensor) -> None:
    moved = augment(images, ("translation",))
    shifts = set()
    for before, after in zip(images, moved, strict=True):
        inside = (after != 0).any(0)
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        down = int(rows[0]) or int(rows[-1]) - 15
        right = int(columns[0]) or int(columns[-1]) - 23
        assert torch.equal(torch.roll(before, (down, right), (1, 2))[:, inside], after[:, inside])
        assert int(inside.sum()) == (16 - abs(down)) * (24 - abs(right))
        shifts.add((down, right))
    assert {abs(d) for d, _ in shifts} == {0, 1, 2} and max(abs(r) for _, r in shifts) == 3


def test_cutout_blanks_at_most_a_quarter_and_touches_nothing_else(images: torch.Tensor) -> None:
    cut = augment(images, ("cutout",))
    hole = (cut == 0).all(1)
    assert torch.equal(torch.where(hole[:, None], images, cut), images)
    sizes = hole.sum((1, 2))
    assert sizes.max() == 8 * 12 and sizes.min() >= 4 * 6


def test_color_is_one_affine_map_of_colours_an_image(images: torch.Tensor) -> None:
    changed = augment(images, ("color",))
    assert not torch.allclose(changed, images)
    gray = images.mean(1, keepdim=True).expand_as(images)
    for x, g, y in zip(images, gray, changed, strict=True):
        design = torch.stack([x.flatten(), g.flatten(), torch.ones(x.numel())], 1)
        fitted = torch.linalg.lstsq(design, y.flatten()[:, None]).solution
        assert torch.allclose(design @ fitted, y.flatten()[:, None], atol=1e-4)


@pytest.mark.parametrize("policy", ["color", "translation", "cutout"])
def test_gradients_flow_and_draws_follow_the_seed(policy: str, images: torch.Tensor) -> None:
    images.requires_grad_()
    torch.manual_seed(1)
    one = augment(images, (policy,))
    torch.manual_seed(1)
    assert torch.equal(one, augment(images, (policy,)))
    assert not torch.equal(one, augment(images, (policy,)))
    one.sum().backward()
    assert (images.grad != 0).float().mean() > 0.5
