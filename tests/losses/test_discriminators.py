"""Discriminators: shapes, what a logit sees, and sizes known from the originals."""

from __future__ import annotations

import pytest
import torch

from tokbench.config.loss import PatchGANConfig, StyleGANConfig
from tokbench.errors import TokbenchError
from tokbench.losses import r1_penalty
from tokbench.models.discriminator import build_discriminator, deviation_of_groups


def count(config: PatchGANConfig | StyleGANConfig, size: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_discriminator(config, size).parameters())


def test_the_default_is_tamings() -> None:
    # NLayerDiscriminator(input_nc=3, n_layers=3, ndf=64) of taming-transformers
    assert count(PatchGANConfig(), 256) == 2_765_633
    torch.manual_seed(0)
    network = build_discriminator(PatchGANConfig(), 64)
    weights = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert weights[2].weight.std().item() == pytest.approx(0.02, rel=0.02) and weights[1].bias is None
    assert norms[2].weight.mean().item() == pytest.approx(1, abs=0.01)
    assert norms[2].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 1, 6, 6)


@pytest.mark.parametrize(("layers", "sees"), [(2, 34), (3, 70)])
def test_a_logit_sees_as_much_as_documented(layers: int, sees: int) -> None:
    network = build_discriminator(PatchGANConfig(channels=4, layers=layers, norm="none"), 128)
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    logits = network(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = (image.grad[0].abs().sum(0) > 0).any(1)
    assert int(rows.sum()) == sees


def test_norms_and_spectral_norm_are_what_they_say() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32)
    for norm, alone in [("batch", False), ("group", True), ("none", True)]:
        network = build_discriminator(PatchGANConfig(channels=8, layers=2, norm=norm), 32)
        same = torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5)
        assert same is alone, norm
    network = build_discriminator(PatchGANConfig(channels=8, layers=2, norm="none", spectral_norm=True), 32)
    for _ in range(30):
        network(images)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_too_small_images_name_the_key_and_what_fits() -> None:
    with pytest.raises(TokbenchError, match=r"layers 3: too many for images of 16 pixels; at most 2 fit"):
        build_discriminator(PatchGANConfig(), 16)
    assert build_discriminator(PatchGANConfig(channels=4, layers=2), 16)(torch.zeros(2, 3, 16, 16)).shape[2:] == (2, 2)
    with pytest.raises(TokbenchError, match="8, 16, 32, ... pixels, not 48"):
        build_discriminator(StyleGANConfig(), 48)


def test_stylegan2_has_one_logit_an_image_and_the_originals_size() -> None:
    # Discriminator(size=256, channel_multiplier=1) of rosinality/stylegan2-pytorch, whose biases are these too
    channels = {256: 64, 128: 128, 64: 256, 32: 512, 16: 512, 8: 512, 4: 512}
    expected = 3 * 64 + 64
    for size in (256, 128, 64, 32, 16, 8):
        a, b = channels[size], channels[size // 2]
        expected += (9 * a * a + a) + (9 * a * b + b) + a * b
    expected += 9 * 513 * 512 + 512 + 16 * 512 * 512 + 512 + 512 + 1
    assert count(StyleGANConfig(), 256) == expected
    torch.manual_seed(0)
    network = build_discriminator(StyleGANConfig(channels=8), 16)
    images = torch.randn(64, 3, 16, 16)
    logits = network(images)
    assert logits.shape == (64, 1) and 0.01 < logits.std() < 10
    penalty = r1_penalty(network, images[:4])
    penalty.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_deviation_over_groups_of_four() -> None:
    x = torch.randn(8, 2, 3, 3)
    made = deviation_of_groups(x)
    # image i is in the group of the images with the same index modulo 8 / 4
    first = x[0::2].reshape(4, -1).var(0, correction=0).add(1e-8).sqrt().mean()
    assert made.shape == (8, 1, 3, 3) and torch.allclose(made[0::2], first)
    assert torch.allclose(deviation_of_groups(x[:1]), torch.full((1, 1, 3, 3), 1e-4))  # one image has none
