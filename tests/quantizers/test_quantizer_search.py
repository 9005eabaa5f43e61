"""Nearest codes are nearest, exactly, however close the race; k-means and the entropies against brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quantizers.functional import (
    bits_to_index,
    factorize,
    index_to_bits,
    join,
    kmeans,
    lfq_entropy,
    most_aligned_code,
    nearest_code,
    rotate_to,
    straight_through,
)


def distances(z: Tensor, codebook: Tensor) -> Tensor:
    return (z.double()[:, None] - codebook.double()).square().sum(-1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 70),
    size=st.integers(1, 600),
    d=st.integers(1, 40),
    offset=st.sampled_from([0.0, 1.0, 1000.0]),
    gap=st.sampled_from([0.0, 1e-7, 1e-4, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_nearest_equals_fp64_brute_force(n: int, size: int, d: int, offset: float, gap: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    z, codebook = torch.randn(n, d, generator=g) + offset, torch.randn(size, d, generator=g) + offset
    half = size // 2  # the second half of the codes nearly repeats the first
    codebook[half : 2 * half] = codebook[:half] + gap * torch.randn(half, d, generator=g)
    found, all_distances = nearest_code(z, codebook), distances(z, codebook)
    # argmin in fp64 takes the first of equals, and so must the search.
    first = (all_distances == all_distances.amin(1, keepdim=True)).int().argmax(1)
    assert torch.equal(found, first)
    aligned = z.double()[:, None].mul(codebook.double()).sum(-1)
    picked = aligned.gather(1, most_aligned_code(z, codebook)[:, None])[:, 0]
    assert torch.equal(picked, aligned.amax(1))


def test_adversarial_ties_on_the_bisector() -> None:
    """Vectors exactly between two codes up to one unit in the last place: fp32 scores cannot tell, fp64 can."""
    g = torch.Generator().manual_seed(0)
    codebook = torch.randn(300, 64, generator=g)
    pairs = torch.randint(0, 300, (2000, 2), generator=g)
    z = (codebook[pairs[:, 0]] + codebook[pairs[:, 1]]) / 2
    z = torch.where(torch.rand(2000, 64, generator=g) < 0.02, torch.nextafter(z, torch.tensor(9.0)), z)
    assert torch.equal(nearest_code(z, codebook), distances(z, codebook).argmin(1))


def test_identical_codes_take_the_first() -> None:
    assert (nearest_code(torch.randn(500, 8), torch.ones(3000, 8)) == 0).all()
    codebook = torch.randn(100, 8).repeat(5, 1)
    assert (nearest_code(torch.randn(500, 8), codebook) < 100).all()


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_exact_under_reduced_matmul_precision(precision: str) -> None:
    g = torch.Generator().manual_seed(3)
    z, codebook = torch.randn(700, 32, generator=g), torch.randn(900, 32, generator=g)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = nearest_code(z, codebook)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, distances(z, codebook).argmin(1))


@pytest.mark.parametrize("by_onednn", [True, False])
def test_either_product_finds_the_same(by_onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantizers.functional import nearest

    if by_onednn and not nearest._HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(nearest, "_onednn_is_faster", lambda: by_onednn)
    z, codebook = torch.randn(700, 16), torch.randn(333, 16)
    assert torch.equal(nearest_code(z, codebook), distances(z, codebook).argmin(1))
    assert torch.equal(most_aligned_code(z, codebook), (z.double() @ codebook.double().T).argmax(1))


def test_search_holds_no_large_matrix() -> None:
    """2^13 x 2^15 scores would be 1 GiB; the largest tensor that the search makes is a small part of that."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(t, Tensor):
                    self.size = max(self.size, t.numel())
            return out

    with Largest() as seen:
        nearest_code(torch.randn(2**13, 4), torch.randn(2**15, 4))
    assert 0 < seen.size <= 2**22


def brute_entropies(z: Tensor, temperature: float) -> tuple[float, float]:
    n = z.shape[-1]
    corners = index_to_bits(torch.arange(2**n), n).double() * 2 - 1
    log_p = (2 * z.double() @ corners.T / temperature).log_softmax(-1)
    mean = log_p.exp().mean(0)
    return float(-(log_p.exp() * log_p).sum(-1).mean()), float(-(mean * mean.clamp_min(1e-300).log()).sum())


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 11), count=st.integers(1, 40), temperature=st.sampled_from([0.01, 0.1, 1.0, 5.0]))
def test_lfq_entropies_are_exact(n: int, count: int, temperature: float) -> None:
    z = torch.randn(count, n, generator=torch.Generator().manual_seed(n * 100 + count))
    expected = brute_entropies(z, temperature)
    found = lfq_entropy(z, temperature)
    for value, truth in zip(found, expected, strict=True):
        assert float(value) == pytest.approx(truth, rel=1e-5, abs=1e-5)
    split = [1] * n
    assert float(lfq_entropy(z, temperature, groups=split)[1]) >= float(found[1]) - 1e-4


def test_lfq_entropy_in_pieces_equals_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantizers.functional import entropy

    def value_and_gradient() -> tuple[Tensor, Tensor]:
        z = torch.linspace(-1, 1, 50 * 8).sin().reshape(50, 8).requires_grad_(True)
        h = lfq_entropy(z, 0.1)[1]
        return h.detach(), torch.autograd.grad(h, z)[0]

    whole = value_and_gradient()
    monkeypatch.setattr(entropy, "_TOKENS", 7)
    pieces = value_and_gradient()
    assert torch.allclose(whole[0], pieces[0], rtol=1e-6) and torch.allclose(whole[1], pieces[1], atol=1e-7)


def test_lfq_entropy_extremes_are_finite() -> None:
    for scale in (0.0, 1e-12, 1e4, 1e30):
        z = torch.full((3, 6), scale, requires_grad=True)
        per_sample, codebook = lfq_entropy(z)
        (per_sample + codebook).backward()
        assert per_sample.isfinite() and codebook.isfinite() and z.grad is not None and z.grad.isfinite().all()


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 2**31))
def test_factorize_and_bit_orders_round_trip(bits: list[int], seed: int) -> None:
    n = sum(bits)
    codes = torch.randint(0, 2**n, (5, 3), generator=torch.Generator().manual_seed(seed))
    parts = factorize(codes, bits)
    assert parts.shape == (5, 3, len(bits)) and torch.equal(join(parts, bits), codes)
    assert torch.equal(parts[..., 0], codes % 2 ** bits[0])
    for msb_first in (False, True):
        assert torch.equal(bits_to_index(index_to_bits(codes, n, msb_first=msb_first), msb_first=msb_first), codes)


def test_kmeans_reaches_a_fixed_point_and_fills_empty_clusters() -> None:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 5, generator=g) * 20
    z = (centres[:, None] + 0.1 * torch.randn(12, 40, 5, generator=g)).reshape(-1, 5)
    found, sizes = kmeans(z, 12, iterations=30, generator=torch.Generator().manual_seed(1))
    start, _ = kmeans(z, 12, iterations=0, generator=torch.Generator().manual_seed(1))
    assert distances(z, found).amin(1).mean() < 0.7 * distances(z, start).amin(1).mean()
    index = nearest_code(z, found)
    assert torch.equal(index.bincount(minlength=12).float(), sizes) and sizes.min() > 0
    assert torch.allclose(found, torch.stack([z[index == k].mean(0) for k in range(12)]), atol=1e-4)
    few, _ = kmeans(z[:3], 8, generator=g)
    assert few.shape == (8, 5) and few.isfinite().all()
    assert torch.allclose(kmeans(z, 4, spherical=True, generator=g)[0].norm(dim=1), torch.ones(4))


def test_straight_through_and_rotation() -> None:
    z = torch.randn(6, 4, requires_grad=True)
    quantized = torch.randn(6, 4)
    out = straight_through(z, quantized)
    assert torch.equal(out, quantized)
    assert torch.equal(torch.autograd.grad(out.sum(), z)[0], torch.ones_like(z))

    out = rotate_to(z, quantized)
    assert torch.allclose(out, quantized, atol=1e-5)
    # A rotation times a scale: gradients keep their length up to |q|/|z|, and their angle to z becomes that to q.
    upstream = torch.randn(6, 4)
    (grad,) = torch.autograd.grad(out, z, upstream)
    scale = quantized.norm(dim=1) / z.detach().norm(dim=1)
    assert torch.allclose(grad.norm(dim=1), upstream.norm(dim=1) * scale, rtol=1e-4)
    assert torch.allclose((grad * z.detach()).sum(1), (upstream * quantized).sum(1), atol=1e-4)
