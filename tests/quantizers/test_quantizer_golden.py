"""Values, indices and gradients of the official implementations, run with random weights (see golden/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import quantizers as Q
from quantizers.functional import factorize, join, lfq_entropy


def load(golden: Path, name: str) -> dict[str, Tensor]:
    with np.load(golden / f"{name}.npz") as data:
        return {k: torch.from_numpy(v) for k, v in data.items() if v.dtype.kind in "fiub"}


def assert_close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    error = (a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-12)
    assert a.shape == b.shape and error < tolerance, f"relative error {error:.2e}"


def quantize_with_gradients(q: Q.Quantizer, d: dict[str, Tensor]) -> tuple[Q.QuantizerOutput, Tensor]:
    z = d["z"].clone().requires_grad_(True)
    out = q.train()(z)
    (out.loss + (out.quantized * d["upstream"]).sum()).backward()
    assert z.grad is not None
    return out, z.grad


@pytest.mark.parametrize(("name", "beta_on"), [("vq_taming_legacy", "codebook"), ("vq_taming_paper", "commitment")])
def test_vq_taming(golden: Path, name: str, beta_on: str) -> None:
    d = load(golden, name)
    q = Q.VQ(8, 64, codebook_update="gradient", beta=float(d["beta"]), beta_on=beta_on, channel_first=True)  # type: ignore[arg-type]
    q.load_codebook(d["codebook"])
    out, grad = quantize_with_gradients(q, d)
    assert torch.equal(out.indices[..., 0], d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.loss, d["loss"])
    assert_close(grad, d["grad_z"])
    assert_close(q.codes.weight.grad, d["grad_codebook"])


def test_vq_llamagen_l2(golden: Path) -> None:
    d = load(golden, "vq_llamagen_l2")
    q = Q.VQ(8, 64, codebook_update="gradient", l2_norm=True, beta=float(d["beta"]), channel_first=True)
    q.load_codebook(d["codebook"])
    out, grad = quantize_with_gradients(q, d)
    assert torch.equal(out.indices[..., 0], d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.losses["codebook"], d["codebook_loss"])
    assert_close(out.losses["commitment"] * d["beta"], d["commitment_loss_weighted"])
    assert_close(grad, d["grad_z"])
    assert_close(q.codes.weight.grad, d["grad_codebook"])


def test_vq_ema_steps(golden: Path) -> None:
    d = load(golden, "vq_ema")
    q = Q.VQ(16, 32, decay=float(d["decay"]), eps=float(d["eps"]), restart_threshold=0.0)
    q.load_codebook(d["codebook0"], cluster_size=d["cluster_size0"])
    for step in range(3):
        out = q(d["z"][step])
        assert torch.equal(out.indices[..., 0], d["indices"][step])
        assert_close(q.codebook, d["codebook"][step])
        assert_close(q.codes.cluster_size, d["cluster_size"][step])


@pytest.mark.parametrize("kind", ["shared", "separate"])
def test_rq_eval(golden: Path, kind: str) -> None:
    d = load(golden, f"rq_kakao_eval_{kind}")
    q = Q.RQ(16, 32, 4, shared_codebook=kind == "shared", restart_threshold=0.0)
    q.load_codebook(d["codebook"])
    q.eval()
    out = q(d["z"])
    assert torch.equal(out.indices, d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(q.soft_targets(d["z"], float(d["soft_temperature"])), d["soft_targets"])
    for depth in range(1, 5):
        assert_close(q.decode(d["indices"][..., :depth]), d["cumulative"][depth - 1])
    assert_close(q.embed(d["indices"]).cumsum(-2).movedim(-2, 0), d["cumulative"])

    z = d["z"].clone().requires_grad_(True)
    out = q.train()(z)
    (grad,) = torch.autograd.grad(out.loss / q.commitment_weight, z, retain_graph=True)
    assert_close(out.losses["commitment"], d["commitment_loss"])
    assert_close(grad, d["grad_z"])
    (grad,) = torch.autograd.grad(out.quantized.sum(), z)
    assert torch.equal(grad, torch.ones_like(grad))


def test_rq_train_sequential_order(golden: Path) -> None:
    d = load(golden, "rq_kakao_train_ema_sequential")
    q = Q.RQ(16, 32, 2, decay=float(d["decay"]), restart_threshold=0.0, update_order="sequential")
    q.load_codebook(d["codebook0"], cluster_size=d["cluster_size0"])
    for step in range(3):
        out = q(d["z"][step])
        assert torch.equal(out.indices, d["indices"][step])
        assert_close(q.codebook, d["codebook"][step])
        assert_close(q.codes[0].cluster_size, d["cluster_size"][step])
        assert_close(q.codes[0].embed_sum, d["embed_ema"][step])


@pytest.mark.parametrize("bits", [10, 18])
def test_lfq_open_magvit2(golden: Path, bits: int) -> None:
    d = load(golden, f"lfq_open_magvit2_2pow{bits}")
    q = Q.LFQ(2**bits, temperature=float(d["temperature"]), log_eps=float(d["log_eps"]), channel_first=True)
    z = d["z"].clone().requires_grad_(True)
    out = q(z)
    assert torch.equal(out.indices[..., 0], d["indices"])
    assert torch.equal(out.quantized, d["quantized"])
    for name in ("commitment", "per_sample_entropy", "codebook_entropy"):
        assert_close(out.losses[name], d[name])
    per_sample, codebook = lfq_entropy(z.movedim(1, -1), log_eps=float(d["log_eps"]))
    assert_close((per_sample - codebook).detach(), d["entropy_loss"], 5e-5)
    (grad,) = torch.autograd.grad(per_sample - codebook, z)
    exact = brute_force_entropy_gradient(d["z"].movedim(1, -1), float(d["temperature"]), float(d["log_eps"]))
    assert_close(grad.movedim(1, -1), exact, 2e-5)
    # The official gradient at 2^18 comes from an fp32 softmax over all codes, itself 1.2e-3 from fp64.
    assert_close(grad, d["grad_z_of_entropy_loss"], 1e-5 if bits == 10 else 2e-3)


def brute_force_entropy_gradient(z: Tensor, temperature: float, log_eps: float) -> Tensor:
    n = z.shape[-1]
    x = z.double().requires_grad_(True)
    corners = ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).double() * 2 - 1
    log_p = (2 * x.reshape(-1, n) @ corners.T / temperature).log_softmax(-1)
    mean = log_p.exp().mean(0)
    loss = -(log_p.exp() * log_p).sum(-1).mean() + (mean * (mean + log_eps).log()).sum()
    return torch.autograd.grad(loss, x)[0]


def test_lfq_bit_orders_and_factors(golden: Path) -> None:
    d = load(golden, "lfq_lucidrains_msb")
    q = Q.LFQ(2**10, bit_order="msb_first", channel_first=True)
    assert torch.equal(q.encode(d["z"])[..., 0], d["indices"])

    d = load(golden, "lfq_token_factorization")
    q = Q.LFQ(2**18, factor_bits=[6, 12], channel_first=True)
    codes = q.encode(d["z"])
    assert torch.equal(codes[..., 0], d["index"])
    assert torch.equal(q.subcodes(codes), torch.stack([d["sub_low"], d["sub_high"]], -1))
    assert torch.equal(join(factorize(codes[..., 0], (6, 12)), (6, 12)), d["index"])


def test_bsq(golden: Path) -> None:
    d = load(golden, "bsq")
    q = Q.BSQ(
        10,
        temperature=1 / float(d["inv_temperature"]),
        entropy_weight=float(d["zeta"]),
        diversity_weight=float(d["gamma"]),
        commitment_weight=float(d["beta"]),
        entropy_groups=[5, 5],
        factor_bits=[5, 5],
        channel_first=True,
    )
    z = d["z_unit"].clone().requires_grad_(True)
    out = q(z)
    assert torch.equal(out.indices[..., 0], d["indices"])
    # Their groups are most significant first, sub-codes here are least significant first.
    assert torch.equal(q.subcodes(out.indices).flip(-1), d["group_indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.losses["codebook_entropy"], d["entropy"])
    assert_close(out.loss, d["loss"])
    # The official module does not normalise: compare after that.
    unit = d["z_unit"].movedim(1, -1).reshape(2, -1, 10).clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(q._train_step(unit)[2], unit)
    assert_close(grad.reshape(2, 5, 7, 10).movedim(-1, 1), d["grad_z"])


def test_fsq(golden: Path) -> None:
    d = load(golden, "fsq_cosmos")
    q = Q.FSQ(d["levels"].tolist(), channel_first=True)
    out = q(d["z"])
    assert torch.equal(out.indices[..., 0], d["indices"].long())
    assert_close(out.quantized, d["quantized"])


def test_ibq(golden: Path) -> None:
    d = load(golden, "ibq")
    q = Q.IBQ(8, 64, beta=float(d["beta"]), entropy_weight=0.0, channel_first=True)
    q.load_codebook(d["codebook"])
    out, grad = quantize_with_gradients(q, d)
    assert torch.equal(out.indices[..., 0], d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.loss, d["loss_parts"].sum())
    assert_close(grad, d["grad_z"])
    assert_close(q.weight.grad, d["grad_codebook"])


@pytest.mark.parametrize(("groups", "bits"), [(2, 8), (4, 2), (4, 4), (8, 4)])
def test_gfq(golden_successors: Path, groups: int, bits: int) -> None:
    """BitDance's module, whose lines are WeTok's."""
    d = load(golden_successors, f"gfq_{groups}x{bits}")
    weights = {"entropy_weight": 0.0, "commitment_weight": 1.0}

    def step(**options: Any) -> tuple[Q.QuantizerOutput, Tensor]:
        q = Q.GFQ(2**bits, groups, log_eps=1e-5, channel_first=True, **{**weights, **options})
        x = d["x"].clone().requires_grad_(True)
        out = q(x)
        return out, torch.autograd.grad(out.loss, x)[0]

    out, grad = step()
    assert torch.equal(out.indices, d["indices"]) and torch.equal(out.quantized, d["quantized"])
    assert_close(out.losses["per_sample_entropy"], d["per_sample_entropy"])
    assert_close(out.losses["codebook_entropy"], d["codebook_entropy"])
    assert_close(out.loss, d["commitment_mean_over_everything"])
    assert_close(grad, d["grad_x_of_commitment_mean_over_everything"])
    out, grad = step(entropy_weight=1.0, commitment_weight=0.0)
    assert_close(out.loss, d["entropy_loss"])
    assert_close(grad, d["grad_x_of_entropy_loss"], 5e-5)
    if "commitment_as_upstream_runs_it" in d:
        out, grad = step(commitment_over="upstream")
        assert_close(out.loss, d["commitment_as_upstream_runs_it"])
        assert_close(grad, d["grad_x_of_commitment_as_upstream"])
    else:
        with pytest.raises(ValueError, match="needs a batch of more than 128, not 2"):
            step(commitment_over="upstream")


@pytest.mark.parametrize("name", ["1x40", "4x24", "8x32"])
def test_mcq(golden_successors: Path, name: str) -> None:
    """UniTok's module."""
    d = load(golden_successors, f"unitok_mcq_{name}")
    groups, size, _ = d["codebooks"].shape

    def step(**options: Any) -> tuple[Q.QuantizerOutput, Tensor, Tensor]:
        q = Q.MCQ(d["x"].shape[-1], size, groups, **options)
        q.load_codebook(d["codebooks"])
        x = d["x"].clone().requires_grad_(True)
        out = q(x)
        weights = [part.codes.weight for part in q.parts]
        grad, *rest = torch.autograd.grad(out.loss, [x, *weights], retain_graph=True)
        (through,) = torch.autograd.grad((out.quantized * d["upstream"]).sum(), x)
        assert_close(through, d["grad_x_of_quantized_times_upstream"])
        return out, grad, torch.stack(rest)

    out, grad, books = step()
    assert torch.equal(out.indices.mT, d["indices"])
    assert_close(out.quantized, d["quantized"])
    assert_close(out.loss, d["vq_loss"])
    assert_close(grad, d["grad_x_of_vq_loss"])
    assert_close(books, d["grad_codebooks_of_vq_loss"])
    if "entropy_loss" in d:
        out, grad, books = step(commitment_weight=0.0, codebook_weight=0.0, entropy_weight=1.0)
        assert_close(out.loss, d["entropy_loss"])
        assert_close(grad, d["grad_x_of_entropy_loss"])
        assert_close(books, d["grad_codebooks_of_entropy_loss"])


def test_rotation_of_rq_is_that_of_vector_quantize_pytorch() -> None:
    theirs = pytest.importorskip("vector_quantize_pytorch").ResidualVQ(
        dim=8, codebook_size=16, num_quantizers=3, shared_codebook=False, rotation_trick=True
    )
    z, upstream = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    q = Q.RQ(8, 16, 3, shared_codebook=False, rotation_trick="per_depth", restart_threshold=0.0)
    one = Q.RQ(8, 16, 1, rotation_trick=True, restart_threshold=0.0)
    books = torch.randn(3, 16, 8) / 2
    for layer, book in zip(theirs.layers, books, strict=True):
        layer._codebook.embed.data.copy_(book[None])
    q.load_codebook(books)
    one.load_codebook(books[0])

    def gradient(module: Any) -> tuple[Tensor, Tensor, Tensor]:
        x = z.clone().requires_grad_(True)
        quantized, indices, *_ = module.train()(x)
        return quantized.detach(), indices, torch.autograd.grad((quantized * upstream).sum(), x)[0]

    mine, reference = gradient(q), gradient(theirs)
    assert torch.equal(mine[1], reference[1])
    assert_close(mine[0], reference[0])
    assert_close(mine[2], reference[2])
    # Of one depth, both are VQ's.
    vq = Q.VQ(8, 16, rotation_trick=True, restart_threshold=0.0)
    vq.load_codebook(books[0])
    assert_close(gradient(one)[2], gradient(vq)[2])


def test_ifsq_is_the_formula_of_its_paper() -> None:
    q = Q.FSQ([17, 5, 3], bound="sigmoid")
    z = torch.randn(4000, 3, requires_grad=True)
    half = torch.tensor([8.0, 2.0, 1.0])
    bounded = 2 * torch.sigmoid(1.6 * z) - 1
    assert_close(q(z).quantized, (bounded * half).round() / half)
    (gradient,) = torch.autograd.grad(q(z).quantized.square().sum(), z)
    assert_close(gradient, torch.autograd.grad((bounded * 2 * q(z).quantized.detach()).sum(), z)[0])


def test_rotation_through_residual_stages_is_that_of_rq() -> None:
    rq = Q.RQ(8, 16, 3, shared_codebook=False, rotation_trick=True, restart_threshold=0.0)
    q = Q.Residual("vq", 3, 8, codebook_size=16, rotation_trick=True, restart_threshold=0.0)
    for stage, codes in zip(q.stages, rq.codes, strict=True):
        stage.load_codebook(codes.weight)  # type: ignore[operator]
    z, upstream, found = torch.randn(4, 9, 8), torch.randn(4, 9, 8), []
    for each in (rq, q):
        given = z.clone().requires_grad_(True)
        out = each.train()(given)
        (grad,) = torch.autograd.grad((out.quantized * upstream).sum(), given)
        found += [out.indices, grad]
    assert torch.equal(found[0], found[2]) and not torch.allclose(found[1], upstream)
    assert_close(found[3], found[1])
