"""One step of the recipe after VQ-GAN has the gradients of taming-transformers' own modules and its own loss."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tokbench.bench.peers import peer_of
from tokbench.config.loading import load_recipe
from tokbench.pretrained.taming import CODEBOOK
from tokbench.pretrained.vqgan_family import TAMING
from tokbench.training.tokenizer_task import TokenizerTask

# The recipe's loss and optimizer on a small network, from the first step on, without the downloaded LPIPS.
SMALL = (
    "data.source=photos", "data.image_size=32", "model.channels=32", "model.multipliers=[1,2]", "model.blocks=1",
    "model.attention_resolutions=[16]", "model.latent_channels=16", "model.code_channels=8",
    "quantizer.codebook_size=32", "loss.perceptual.net=none", "loss.adversarial.start=0", "training.batch_size=4",
    "loss.adversarial.discriminator.channels=8", "training.precision=fp32", "data.workers=0",
)  # fmt: skip


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Any:
    """taming's loss, of a step, with its LPIPS left out."""
    pytest.importorskip("taming", reason="taming-transformers is not installed (tokbench[peers])")
    without = types.ModuleType("taming.modules.losses.lpips")  # it would fetch weights
    without.LPIPS = nn.Identity  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, without.__name__, without)
    from taming.modules.losses.vqperceptual import VQLPIPSWithDiscriminator

    return VQLPIPSWithDiscriminator(disc_start=0, disc_weight=0.8, disc_ndf=8, disc_num_layers=3, perceptual_weight=0.0)


def test_a_step_of_the_recipe_is_tamings(official: Any) -> None:
    torch.manual_seed(0)
    task = TokenizerTask(load_recipe("vqgan-f16-1024", SMALL), Accelerator(cpu=True))
    assert task.adversary is not None
    batch = {"image": torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), "label": torch.zeros(4), "id": [""] * 4}
    images = task._images(batch)
    model = peer_of(task.tokenizer, "taming", images).train()
    network = task.adversary.bare.network
    official.discriminator.main.load_state_dict(network.state_dict(), strict=False)

    reconstruction, quantizer = model(images)
    last = model.decoder.conv_out.weight
    loss, said = official(quantizer, images, reconstruction, 0, 1, last_layer=last)
    loss.backward()
    official.discriminator.zero_grad()
    wrong, _ = official(quantizer.detach(), images, reconstruction.detach(), 1, 1)
    wrong.backward()

    values = task.step([batch], 0, 1.0)
    assert values["lambda"].item() * 0.8 == pytest.approx(said["train/d_weight"].item(), rel=1e-3)
    assert values["loss"].item() == pytest.approx(said["train/total_loss"].item(), rel=1e-4)
    theirs = dict(model.named_parameters())
    for name, parameter in task.tokenizer.named_parameters():
        its = theirs.pop(CODEBOOK if name.startswith("quantizer.") else TAMING.official(name, 2))
        torch.testing.assert_close(parameter.grad, its.grad, rtol=2e-3, atol=2e-6, msg=name)
    assert not theirs
    for mine, its in zip(network.parameters(), official.discriminator.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=2e-3, atol=2e-6)
