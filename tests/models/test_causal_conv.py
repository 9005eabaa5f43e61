"""The convolution by 2D slices against PyTorch's own in three axes: values and gradients, in double precision."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from tokbench.models import causal_conv
from tokbench.models.causal_conv import Shape, causal_conv3d
from tokbench.models.frame_norm import norm_of_frames


@pytest.mark.parametrize(("channels", "positions"), [(4, 1), (16, 1), (16, 10**9)])
@pytest.mark.parametrize("batch", [1, 2])
def test_values_and_gradients(channels: int, positions: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few channels or positions by taps, otherwise four frames together."""
    monkeypatch.setattr(causal_conv, "POSITIONS", positions)
    torch.manual_seed(0)
    weight = torch.randn(16, channels, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(16, dtype=torch.float64, requires_grad=True)
    for frames, before, stride in itertools.product((1, 2, 3, 4, 5, 6, 7, 9), (0, 1, 2), (1, 2)):
        if frames + before < 3:
            continue
        x = torch.randn(batch, channels, frames, 4, 5, dtype=torch.float64, requires_grad=True)
        got = causal_conv3d(x, weight, bias, Shape((stride, stride, stride), (1, 1), before))
        wanted = F.conv3d(F.pad(x, (1, 1, 1, 1, before, 0)), weight, bias, stride)
        assert got.shape == wanted.shape and torch.allclose(got, wanted), (frames, before, stride)
        given = torch.randn_like(wanted)
        pairs = zip(
            torch.autograd.grad(got, (x, weight, bias), given),
            torch.autograd.grad(wanted, (x, weight, bias), given),
            strict=True,
        )
        assert all(torch.allclose(one, other) for one, other in pairs), (frames, before, stride)


def test_four_frames_together_take_fewer_convolutions() -> None:
    def frames(by_fours: bool) -> int:
        plan = causal_conv._plan(17, 3, 1, 2, by_fours)
        return sum(len(range(17)[tap.to]) for tap in plan.taps) + 6 * plan.fours

    assert (frames(False), frames(True)) == (17 + 16 + 15, 1 + 6 * 4)


def test_autocast_has_gradients_of_the_weights_own_type() -> None:
    x, weight = torch.randn(1, 4, 3, 4, 4), torch.randn(4, 4, 3, 3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = causal_conv3d(x, weight, None, Shape((1, 1, 1), (1, 1), 2))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and weight.grad is not None and weight.grad.dtype == torch.float32


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("swish", [True, False])
def test_norm_of_frames(affine: bool, swish: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    parts = [torch.randn(8, dtype=torch.float64, requires_grad=True) for _ in range(2)] if affine else [None, None]
    got = norm_of_frames(x, 4, parts[0], parts[1], 1e-6, swish)
    wanted = F.group_norm(x, 4, parts[0], parts[1], 1e-6)
    wanted = F.silu(wanted) if swish else wanted
    assert torch.allclose(got, wanted)
    leaves = [x, *(part for part in parts if part is not None)]
    given = torch.randn_like(x)
    pairs = zip(torch.autograd.grad(got, leaves, given), torch.autograd.grad(wanted, leaves, given), strict=True)
    assert all(torch.allclose(one, other) for one, other in pairs)
