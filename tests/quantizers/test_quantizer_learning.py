"""What the codebooks learn: restarts, k-means, order of updates, dropout, annealing, compilation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import quantizers as Q
from quantizers.functional import nearest_code


def clusters(count: int, dim: int, seed: int, tokens: int = 64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(count, dim, generator=g)
    return centres[torch.randint(count, (8, tokens), generator=g)] + 0.05 * torch.randn(8, tokens, dim, generator=g)


@settings(max_examples=15, deadline=None)
@given(shared=st.booleans(), size=st.integers(8, 40), dim=st.integers(2, 12), seed=st.integers(0, 999))
def test_rq_error_falls_with_depth_after_training(shared: bool, size: int, dim: int, seed: int) -> None:
    torch.manual_seed(seed)
    q = Q.RQ(dim, size, depth=4, shared_codebook=shared, decay=0.8)
    z = torch.randn(8, 60, dim)
    for _ in range(15):
        out = q.train()(z)
    codes = q.eval().encode(z)
    errors = [float((q.decode(codes[..., :d]) - z).square().mean()) for d in range(1, 5)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[0]
    assert out.losses["commitment_per_depth"].shape == (4,)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_restart_on_the_batch(update: str) -> None:
    torch.manual_seed(0)
    q = Q.VQ(4, 32, codebook_update=update, restart_threshold=1.0)  # type: ignore[arg-type]
    q.load_codebook(torch.cat([torch.randn(16, 4), torch.full((16, 4), 1e4)]))  # half of it out of reach
    z = clusters(20, 4, 0)
    for _ in range(3):
        q(z)
    assert q.codebook.abs().max() < 100, "codes out of reach were left there"
    assert len(q.eval().encode(z).unique()) > 20

    never = Q.VQ(4, 32, codebook_update=update, restart_threshold=0.0)  # type: ignore[arg-type]
    never.load_codebook(torch.cat([torch.randn(16, 4), torch.full((16, 4), 1e4)]))
    for _ in range(3):
        never(z)
    assert never.codebook.max() > 9e3


def test_ibq_fills_its_codebook() -> None:
    """An encoder in front of it learns; from codes near zero, as VQ begins with, all its latents ended in a few."""
    torch.manual_seed(0)
    x = torch.randn(16, 32, 8) @ torch.randn(8, 8)
    encoder, decoder, q = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), Q.IBQ(8, 64)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *q.parameters()], lr=3e-3)
    for _ in range(150):
        out = q.train()(encoder(x))
        loss = (decoder(out.quantized) - x).square().mean() + 0.1 * out.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(q.eval().encode(encoder(x)).unique()) > 24
    with torch.no_grad():
        error = decoder(q.decode(q.encode(encoder(x)))) - x
    assert error.square().mean() < 0.5 * x.square().mean()


def test_small_batches_do_not_restart_codes_in_use() -> None:
    """With fewer vectors than codes a bar of one hit a batch would throw the codebook away at every step."""
    torch.manual_seed(0)
    q, z = Q.VQ(4, 64, decay=0.9), clusters(64, 4, 1, tokens=4)
    for _ in range(30):
        q(z)
    before = q.codebook.clone()
    q(z)
    assert ((q.codebook - before).norm(dim=1) < 1e-3).sum() >= 32


def test_a_loaded_codebook_survives_the_first_training_step() -> None:
    book = torch.randn(16, 4)
    q = Q.VQ(4, 16)
    q.load_codebook(book)
    q.train()(book.repeat(4, 1)[None])
    assert torch.allclose(q.codebook, book, atol=1e-4)


def test_kmeans_uses_the_first_batches_then_never_again() -> None:
    torch.manual_seed(0)
    q = Q.VQ(4, 16, kmeans_init=True)
    first, second = clusters(8, 4, 0, tokens=10), clusters(8, 4, 1, tokens=10) + 20
    q(first), q(second)
    assert int(q.codes.kmeans_wanted) == 0  # 10 vectors a code were asked for: two batches of 80
    reached = nearest_code(q.codebook, torch.stack([first.mean((0, 1)), second.mean((0, 1))]))
    assert 4 <= int(reached.sum()) <= 12, "k-means saw one of the batches only"
    resumed = Q.VQ(4, 16, kmeans_init=True)
    resumed.load_state_dict(q.state_dict())
    before = resumed.codebook.clone()
    resumed(first)
    assert (resumed.codebook - before).norm(dim=1).median() < 0.5, "a resumed codebook started over"


def test_joint_update_keeps_training_output_equal_to_its_codes() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 50, 6)
    for order, equal in (("joint", True), ("sequential", False)):
        q = Q.RQ(6, 16, 3, update_order=order)  # type: ignore[arg-type]
        for _ in range(3):
            q(z)
        before = copy.deepcopy(q).eval()
        out = q(z)
        assert torch.allclose(before.decode(out.indices), out.quantized, atol=1e-5) is equal


def test_gradient_accumulation_makes_one_update() -> None:
    torch.manual_seed(0)
    z = torch.randn(8, 20, 4)
    for name, kwargs in (("vq", {}), ("rq", {"depth": 2})):
        one = Q.build(name, dim=4, codebook_size=16, restart_threshold=0.0, **kwargs)
        many = copy.deepcopy(one)
        for module in many.modules():
            if hasattr(module, "update_every"):
                module.update_every = 4
        one(z)
        start = many.codebook.clone()  # type: ignore[union-attr,operator]
        for i, part in enumerate(z.chunk(4)):
            assert torch.equal(many.codebook, start), f"updated after {i} of 4"  # type: ignore[arg-type]
            many(part)
        assert torch.allclose(one.codebook, many.codebook, rtol=1e-3, atol=1e-5)  # type: ignore[arg-type]


def test_depth_dropout_decodes_prefixes() -> None:
    torch.manual_seed(0)
    q = Q.RQ(4, 16, 3, depth_dropout=1.0, restart_threshold=0.0)
    q.load_codebook(torch.randn(16, 4))
    z = torch.randn(40, 5, 4)
    book = copy.deepcopy(q)
    out = q(z)
    prefixes = torch.stack([book.decode(out.indices[..., :d]) for d in (1, 2, 3)])
    fits = ((prefixes - out.quantized).abs().amax((2, 3)) < 1e-5).sum(1)
    assert (fits > 0).all() and fits.sum() == 40, "every sample is one prefix, and all lengths occur"


@pytest.mark.parametrize("shared", [True, False])
def test_stochastic_codes_follow_the_soft_targets(shared: bool) -> None:
    torch.manual_seed(0)
    q = Q.RQ(3, 5, 2, shared_codebook=shared).eval()
    q.load_codebook(torch.randn(*(() if shared else (2,)), 5, 3))
    z = torch.randn(1, 1, 3).expand(1, 20000, 3)
    soft = q.soft_targets(z[:, :1], temperature=2.0)
    assert soft.shape == (1, 1, 2, 5) and torch.allclose(soft.sum(-1), torch.ones(1, 1, 2))
    drawn = q.sample(z, 2.0, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, q.sample(z, 2.0, torch.Generator().manual_seed(1)))
    frequency = drawn[0, :, 0].bincount(minlength=5) / 20000
    assert torch.allclose(frequency, soft[0, 0, 0], atol=0.02)
    cold = q.sample(z[:, :50], temperature=1e-6)
    assert torch.equal(cold, q.encode(z[:, :50]))
    with pytest.raises(ValueError, match="temperature"):
        q.sample(z, 0.0)


def test_lfq_annealing_and_options() -> None:
    q = Q.LFQ(2**4, entropy_weight=0.1, entropy_anneal_scale=3.0, entropy_anneal_steps=4)
    weights = []
    for _ in range(6):
        weights.append(round(float(q.annealed_entropy_weight()), 6))
        q.train()(torch.randn(2, 5, 4))
    assert weights == [0.3, 0.25, 0.2, 0.15, 0.1, 0.1]
    assert (q(torch.zeros(1, 1, 4)).quantized == -1).all(), "sign(0) is -1"
    shifted = torch.randn(2, 50, 4) + 10
    assert (Q.LFQ(2**4).eval()(shifted).indices == 15).all()
    assert len(Q.LFQ(2**4, norm="layer").eval()(shifted).indices.unique()) > 8


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("vq", {"codebook_size": 70}), ("rq", {"codebook_size": 16, "depth": 3}), ("lfq", {"codebook_size": 2**6})],
)
def test_eval_compiles_into_one_graph(name: str, kwargs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    q = Q.build(name, dim=6, **kwargs).eval()
    compiled = torch.compile(q, fullgraph=True, backend="aot_eager")
    z = torch.randn(2, 9, 6)
    expected = q(z)
    counted = q.usage.total
    out = compiled(z)
    assert torch.equal(out.indices, expected.indices) and torch.allclose(out.quantized, expected.quantized)
    assert q.usage.total == counted + 18, "the compiled forward does not count"
    with pytest.raises(ValueError, match="1 NaN"):
        compiled(torch.where(torch.arange(108).reshape(2, 9, 6) == 7, torch.nan, z))


def test_usage_of_huge_vocabularies_is_exact() -> None:
    q = Q.BSQ(40).eval()
    z = torch.randn(3, 100, 40)
    for _ in range(3):
        q(z)
    distinct = len(q.encode(z).unique())
    assert q.usage.usage == [distinct / 2**40] and q.usage.total == 900
    assert q.usage.perplexity[0] == pytest.approx(distinct, rel=1e-6)
    assert int(q.usage.counts[0].coalesce().values().sum()) == 900


def test_usage_figures() -> None:
    q = Q.VQ(2, 4)
    q.usage.update(torch.tensor([[0], [0], [1], [1]]))
    assert q.usage.entropy_bits == [1.0] and q.usage.perplexity == [2.0] and q.usage.usage == [0.5]
    assert q.usage.counts[0].tolist() == [2, 2, 0, 0]
