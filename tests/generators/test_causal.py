"""Causal attention that keeps its weights, beside PyTorch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.generators.causal import attend, keeps_weights
from tokbench.generators.transformer import Transformer
from tokbench.training.flops import StepFlops


def queries(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as a layer gives them: views (B, h, N, c) of one product."""
    batch, heads, length, channels = shape
    product = torch.randn(batch, length, 3, heads, channels, requires_grad=True)
    q, k, v = (part.transpose(1, 2) for part in product.unbind(2))
    return q, k, v


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 200])
def test_values_and_gradients_are_those_of_pytorch(length: int) -> None:
    torch.manual_seed(0)
    given = queries(2, 3, length, 16)
    ours, theirs = attend(*given), F.scaled_dot_product_attention(*given, is_causal=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    weights = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), given) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_no_place_hears_of_a_later_one() -> None:
    q, k, v = (x.detach() for x in queries(1, 2, 150, 8))
    before = attend(q, k, v)
    k[:, :, 100:], v[:, :, 100:] = torch.randn(2, 1, 2, 50, 8)
    after = attend(q, k, v)
    assert torch.equal(after[:, :, :100], before[:, :, :100])
    assert not torch.equal(after[:, :, 100], before[:, :, 100])


@pytest.mark.parametrize(
    ("length", "channels", "expected"), [(127, 32, False), (128, 32, True), (512, 32, True), (513, 32, False)]
)
def test_weights_are_kept_of_sequences_that_are_neither_short_nor_long(
    length: int, channels: int, expected: bool
) -> None:
    assert keeps_weights(queries(1, 1, length, channels)[0]) == expected


def test_a_stack_trains_and_counts_the_same_by_either(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stack, x = Transformer(32, 2, 2), torch.randn(2, 130, 32)
    found, flops = [], []
    for keeps in (keeps_weights, lambda q: False):
        monkeypatch.setattr("tokbench.generators.transformer.keeps_weights", keeps)
        with StepFlops() as counter:
            found.append(torch.autograd.grad(stack(x).square().mean(), list(stack.parameters())))
        flops.append(counter.total)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert flops[0] == flops[1] > 0
    with torch.no_grad():
        assert not keeps_weights(x[:, None])
