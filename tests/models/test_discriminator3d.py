"""The discriminator of clips against O2-MAGVIT2's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokbench.losses.adversarial import discriminator_loss, generator_loss
from tokbench.losses.lecam import LeCam
from tokbench.losses.penalty import r1_penalty
from tokbench.models.discriminator3d import ClipDiscriminator, blur_pool3d


@pytest.fixture(scope="module")
def data(golden_video: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(golden_video / "o2_disc.npz").items()}


NAMES = {
    "conv_in": "stem",
    "conv1": "first",
    "conv2": "skip",
    "conv3": "second",
    "res_blocks": "blocks",
    "conv_out": "last",
    "linear0": "hidden",
    "linear1": "out",
}


@pytest.fixture(scope="module")
def network(data: dict[str, Tensor]) -> ClipDiscriminator:
    made = ClipDiscriminator((9, 32, 32), 8, (2, 4, 4))
    state = {
        ".".join(NAMES.get(part, part) for part in name.split(".")): tensor
        for name, tensor in ((key.removeprefix("state/"), value) for key, value in data.items() if "state/" in key)
        if not name.endswith("blur.filt")
    }
    made.load_state_dict(state)
    return made


def test_logits_losses_and_penalty(network: ClipDiscriminator, data: dict[str, Tensor]) -> None:
    real, fake = network(data["real"]), network(data["fake"])
    assert torch.allclose(real, data["real_logit"], atol=1e-5) and torch.allclose(fake, data["fake_logit"], atol=1e-5)
    for kind, name in (("non-saturating", "non_saturating"), ("hinge", "hinge")):
        # Ours is halved, as taming's.
        assert torch.allclose(2 * discriminator_loss(kind, real, fake), data[f"d_{name}"], rtol=1e-5)
        assert torch.allclose(generator_loss(kind, fake), data[f"g_{name}"], rtol=1e-5)
    assert torch.allclose(10 * r1_penalty(network, data["real"]), data["r1_cost10"], rtol=1e-4, atol=2e-5)
    lecam = LeCam()
    lecam.real.fill_(0.3)
    lecam.fake.fill_(-0.2)
    assert torch.allclose(lecam(real.mean(), fake.mean()), data["lecam_with_ema_real_03_fake_m02"], rtol=1e-4)


def test_blur_pool(data: dict[str, Tensor]) -> None:
    assert torch.allclose(blur_pool3d(data["blur/in"]), data["blur/out"], atol=1e-6)


@pytest.mark.parametrize("size", [(1, 2, 3), (2, 5, 8), (17, 16, 9)])
def test_blur_pool_is_a_mirrored_binomial(size: tuple[int, int, int]) -> None:
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    wanted = x
    for axis in (2, 3, 4):
        if wanted.shape[axis] > 1:
            lines = wanted.movedim(axis, -1)
            padded = torch.nn.functional.pad(lines.reshape(1, -1, lines.shape[-1]), (1, 1), mode="reflect")
            windows = padded.unfold(-1, 3, 2) @ torch.tensor([0.25, 0.5, 0.25])
            wanted = windows.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
    assert torch.allclose(blur_pool3d(x), wanted, atol=1e-6)


def test_one_logit_a_clip_of_its_own_size() -> None:
    network = ClipDiscriminator((17, 64, 32), 4, (2, 4, 4, 4, 4))
    assert network(torch.randn(2, 3, 17, 64, 32)).shape == (2, 1)
    assert network.hidden.in_features == 1 * 2 * 1 * 16
    with pytest.raises(ValueError, match=r"takes clips of \(T, H, W\) = \(17, 64, 32\), not \(16, 64, 32\)"):
        network(torch.randn(1, 3, 16, 64, 32))
