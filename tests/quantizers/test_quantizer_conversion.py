"""Weights of vector-quantize-pytorch in our classes: the same codes, reconstruction, losses and updates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import vector_quantize_pytorch as V
from torch import Tensor, nn

import quantizers as Q
from quantizers.third_party import VectorQuantizePytorch


def learned(kind: str, **options: Any) -> nn.Module:
    """A module whose codebook has seen three batches."""
    torch.manual_seed(0)
    module = getattr(V, kind)(**options)
    if "codebook_size" in options or "levels" in options:
        for _ in range(3):
            module.train()(torch.randn(2, 40, options.get("dim", 8)))
    return module  # type: ignore[no-any-return]


CONVERTED = {
    "vq": ("VectorQuantize", "VQ", {"dim": 8, "codebook_size": 16}),
    "vq-cosine": ("VectorQuantize", "VQ", {"dim": 8, "codebook_size": 16, "codebook_dim": 4, "use_cosine_sim": True}),
    "vq-gradient": (
        "VectorQuantize", "VQ",
        {"dim": 8, "codebook_size": 16, "learnable_codebook": True, "ema_update": False, "rotation_trick": False},
    ),
    "vq-heads": (
        "VectorQuantize", "Grouped",
        {"dim": 8, "codebook_dim": 4, "codebook_size": 16, "heads": 2, "separate_codebook_per_head": True},
    ),
    "vq-kmeans": ("VectorQuantize", "VQ", {"dim": 8, "codebook_size": 16, "kmeans_init": True}),
    "rq": ("ResidualVQ", "RQ", {"dim": 8, "codebook_size": 16, "num_quantizers": 3}),
    "rq-shared": (
        "ResidualVQ", "RQ",
        {"dim": 8, "codebook_size": 16, "num_quantizers": 3, "shared_codebook": True, "codebook_dim": 4},
    ),
    "rq-dropout": ("ResidualVQ", "RQ", {"dim": 8, "codebook_size": 16, "num_quantizers": 3, "quantize_dropout": True}),
    "rq-grouped": ("GroupedResidualVQ", "Grouped", {"dim": 8, "codebook_size": 16, "num_quantizers": 3, "groups": 2}),
    "lfq": ("LFQ", "LFQ", {"dim": 8, "codebook_size": 16, "commitment_loss_weight": 0.25}),
    "lfq-no-bias": ("LFQ", "LFQ", {"dim": 8, "codebook_size": 16, "projection_has_bias": False}),
    "lfq-two": ("LFQ", "Grouped", {"dim": 8, "codebook_size": 16, "num_codebooks": 2, "commitment_loss_weight": 0.1}),
    "bsq": ("LFQ", "BSQ", {"dim": 4, "codebook_size": 16, "spherical": True, "commitment_loss_weight": 0.25}),
    "fsq": ("FSQ", "FSQ", {"dim": 8, "levels": [8, 5, 4]}),
    "fsq-two": ("FSQ", "Grouped", {"levels": [8, 5, 4, 3], "num_codebooks": 2}),
    "lfq-residual": ("ResidualLFQ", "Residual", {"dim": 8, "codebook_size": 16, "num_quantizers": 3}),
    "lfq-grouped": (
        "GroupedResidualLFQ", "Grouped", {"dim": 8, "codebook_size": 16, "num_quantizers": 3, "groups": 2},
    ),
    "simvq": ("SimVQ", "SimVQ", {"dim": 8, "codebook_size": 16}),
    "simvq-residual": (
        "ResidualSimVQ", "Residual",
        {"dim": 8, "codebook_size": 16, "num_quantizers": 3, "rotation_trick": False},
    ),
}  # fmt: skip
# Where our loss of a step is theirs, the sum of what they return, and where the gradient of z is theirs as well. Theirs
# adds up over residual stages unless it is rotated, and a BSQ's is not divided by sqrt(n). By gradient, the two halves
# of the codebook's loss are one number there.
SAME_LOSS = sorted(set(CONVERTED) - {"rq-dropout", "lfq-residual", "lfq-grouped", "vq-gradient"})
SAME_GRADIENT = sorted({*SAME_LOSS, "vq-gradient"} - {"rq-shared", "bsq", "simvq-residual"})


def case(name: str) -> tuple[nn.Module, Q.Quantizer, Tensor]:
    kind, ours, options = CONVERTED[name]
    module = learned(kind, **options)  # type: ignore[arg-type]
    made = Q.from_vector_quantize_pytorch(module)
    assert type(made).__name__ == ours and made.training
    return module, made, torch.randn(3, 50, made.dim)


def theirs(module: nn.Module, z: Tensor, like: Q.Quantizer) -> tuple[Tensor, Tensor, Tensor]:
    """quantized, codes (B, T, D), loss."""
    quantized, indices, *loss = module(z)
    if indices.ndim == 4:  # (G, B, T, D)
        indices = indices.movedim(0, 2).flatten(2)
    return quantized, indices.long().reshape(*z.shape[:2], like.num_codebooks), loss[0] if loss else z.new_zeros(())


@pytest.mark.parametrize("name", CONVERTED)
def test_codes_and_reconstruction_are_theirs(name: str) -> None:
    module, made, z = case(name)
    module.eval(), made.eval()
    quantized, codes, _ = theirs(module, z, made)
    assert torch.equal(made.encode(z), codes)
    torch.testing.assert_close(made(z).quantized, quantized, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(made.decode(codes), quantized, atol=2e-6, rtol=1e-5)
    assert not any(
        parameter.data_ptr() in {p.data_ptr() for p in module.parameters()} for parameter in made.parameters()
    )


@pytest.mark.parametrize("name", sorted({*SAME_LOSS, *SAME_GRADIENT}))
def test_the_next_training_step_is_theirs(name: str) -> None:
    """Loss, gradient of z, and the codebook afterwards: the moving averages came along."""
    module, made, z = case(name)
    module.train()
    found = []
    for step in (lambda x: theirs(module, x, made), made):
        x = z.clone().requires_grad_()
        quantized, _, loss = step(x)  # type: ignore[operator]
        (quantized.square().sum() + loss.sum()).backward()
        assert x.grad is not None
        found.append((loss.sum().detach(), x.grad))
    entropies = {"atol": 1e-4, "rtol": 1e-3} if name.startswith(("lfq", "bsq")) else {"atol": 1e-5, "rtol": 1e-4}
    if name in SAME_LOSS:
        torch.testing.assert_close(found[1][0], found[0][0], **entropies)
    if name in SAME_GRADIENT:
        torch.testing.assert_close(found[1][1], found[0][1], **entropies)
        module.eval(), made.eval()
        torch.testing.assert_close(made(z).quantized, module(z)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "kept_for"),
    [
        ("VectorQuantize", {"dim": 8, "codebook_size": 16, "affine_param": True}, "affine_param"),
        ("VectorQuantize", {"dim": 8, "codebook_size": 16, "ema_update": False}, "ema_update"),
        ("VectorQuantize", {"dim": 8, "codebook_size": 16, "heads": 2, "codebook_dim": 4}, "heads"),
        (
            "VectorQuantize",
            {"dim": 8, "codebook_size": 16, "codebook_dim": 4, "layernorm_after_project_in": True},
            "its project_in, a Sequential",
        ),
        ("ResidualVQ", {"dim": 8, "codebook_size": 16, "num_quantizers": 2, "beam_size": 2}, "beam_size"),
        ("ResidualVQ", {"dim": 8, "codebook_size": 16, "num_quantizers": 2, "use_cosine_sim": True}, "use_cosine_sim"),
        ("ResidualVQ", {"dim": 8, "codebook_size": (16, 8)}, "codebook_size"),
        ("LFQ", {"dim": 8, "codebook_size": 16, "soft_clamp_input_value": 2.0}, "soft_clamp_input_value"),
        ("LFQ", {"dim": 8, "codebook_size": 16, "has_projections": True, "num_codebooks": 2}, "num_codebooks"),
        ("FSQ", {"dim": 8, "levels": [8, 5], "preserve_symmetry": True}, "preserve_symmetry"),
        ("ResidualFSQ", {"dim": 8, "levels": [5, 4], "num_quantizers": 2}, "its class ResidualFSQ"),
        ("ResidualSimVQ", {"dim": 8, "codebook_size": 16, "num_quantizers": 2}, "rotation_trick"),
    ],
)
def test_what_no_class_here_computes_stays_theirs_and_says_why(kind: str, options: Any, kept_for: str) -> None:
    module = getattr(V, kind)(**options).eval()
    made = Q.from_vector_quantize_pytorch(module, dim=options["dim"])
    assert isinstance(made, VectorQuantizePytorch) and made.module is module and not made.training
    assert made.kept_for == kept_for


def test_what_is_not_theirs_or_of_another_version_is_one_line_or_wrapped() -> None:
    for other in (5, nn.Linear(4, 4)):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            Q.from_vector_quantize_pytorch(other)  # type: ignore[arg-type]

    class Mine(V.VectorQuantize):  # type: ignore[misc]
        pass

    assert Q.from_vector_quantize_pytorch(Mine(dim=8, codebook_size=16)).kept_for == "its class Mine"  # type: ignore[attr-defined]
    older = V.VectorQuantize(dim=8, codebook_size=16)
    del older.directional_reparam
    assert "directional_reparam" in Q.from_vector_quantize_pytorch(older.eval()).kept_for  # type: ignore[operator]


def test_layout_mode_and_precision_come_along() -> None:
    module = learned("VectorQuantize", dim=8, codebook_size=16).eval()
    assert not Q.from_vector_quantize_pytorch(module).training
    maps = V.VectorQuantize(dim=8, codebook_size=16, accept_image_fmap=True).eval()
    made, z = Q.from_vector_quantize_pytorch(maps), torch.randn(2, 8, 3, 5)
    assert made.channel_first and torch.equal(made.encode(z)[..., 0], maps(z)[1])
    torch.testing.assert_close(made(z).quantized, maps(z)[0])
    assert not Q.from_vector_quantize_pytorch(maps, channel_first=False).channel_first
    simvq = V.SimVQ(dim=8, codebook_size=16, channel_first=True).eval()
    assert torch.equal(Q.from_vector_quantize_pytorch(simvq).encode(z)[..., 0], simvq(z)[1])
    kept = Q.from_vector_quantize_pytorch(module, convert=False)
    assert isinstance(kept, VectorQuantizePytorch) and kept.kept_for == ""


@pytest.mark.parametrize("layout", [{"accept_image_fmap": True}, {"channel_last": False}])
def test_what_is_wrapped_takes_channels_last(layout: dict[str, bool]) -> None:
    """Rows (B, 8, 8) would go through such a module in silence, with the channels where the positions belong."""
    module = V.VectorQuantize(dim=8, codebook_size=16, **layout)
    with pytest.raises(ValueError, match=f"build it without {next(iter(layout))}"):
        Q.from_vector_quantize_pytorch(module, convert=False)


def test_what_was_learned_since_is_kept_by_a_state_dict() -> None:
    """A converted quantizer is one of ours: it saves, loads and trains on as such."""
    _, made, z = case("rq")
    again = Q.RQ(8, 16, 3, shared_codebook=False)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.encode(z), made.encode(z))


def test_k_means_that_has_not_begun_begins_here() -> None:
    made = Q.from_vector_quantize_pytorch(V.VectorQuantize(dim=8, codebook_size=16, kmeans_init=True))
    assert isinstance(made, Q.VQ) and int(made.codes.kmeans_wanted) == 160
