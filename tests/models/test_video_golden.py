"""Whole networks of videos against the official implementations: values and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokbench.config.video_model import CosmosDVConfig, MAGVIT2VideoConfig, VidTokConfig
from tokbench.models.cosmos_dv import build as cosmos
from tokbench.models.magvit2_video import build as magvit2
from tokbench.models.vidtok import build as vidtok
from tokbench.pretrained.cosmos_dv import LAYOUT as COSMOS
from tokbench.pretrained.names import Layout
from tokbench.pretrained.o2_magvit2 import LAYOUT as O2
from tokbench.pretrained.open_magvit2_video import FORM
from tokbench.pretrained.open_magvit2_video import LAYOUT as SEED
from tokbench.pretrained.vidtok import LAYOUT as VIDTOK
from tokbench.pretrained.vidtok import _five_axes


def read(golden: Path, *names: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name in names:
        found |= {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(golden / f"{name}.npz").items()}
    return found


def fill(
    networks: tuple[torch.nn.Module, torch.nn.Module], data: dict[str, Tensor], layout: Layout, levels: int
) -> None:
    """Every official weight in its place, none left over or missing."""
    state: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for key, tensor in data.items():
        part, _, name = key.partition("/")
        if part not in ("encoder", "decoder", "state"):
            continue
        ours = layout.ours(name if part == "state" else f"{part}.{name}", levels)
        assert ours is not None, key
        side, _, rest = ours.partition(".")
        state[side == "decoder"][rest] = _five_axes(rest, tensor)
    for network, tensors in zip(networks, state, strict=True):
        network.load_state_dict(tensors, strict=layout is not COSMOS)


def near(got: Tensor, wanted: Tensor) -> bool:
    return got.shape == wanted.shape and torch.allclose(got, wanted, atol=2e-5, rtol=1e-4)


def test_o2_magvit2(golden_video: Path) -> None:
    data = read(golden_video, "o2magvit2")
    config = MAGVIT2VideoConfig(channels=32, multipliers=(1, 1, 1, 1), blocks=1, norm_epsilon=1e-5)
    encoder, decoder = magvit2(config, 32, 10, 3)
    fill((encoder, decoder), data, O2, 4)
    x = data["input"].requires_grad_()
    z = encoder(x)
    assert near(z, data["z"])
    reconstruction = decoder(z + (data["quantized"] - z).detach())
    assert near(reconstruction, data["reconstruction"])
    (reconstruction * data["upstream"]).mean().backward()
    assert x.grad is not None and torch.allclose(x.grad, data["grad_input"], atol=1e-7, rtol=1e-3)
    for layer, wanted in ((encoder.stem, "grad_enc_conv_first"), (decoder.head, "grad_dec_conv_last")):
        assert layer.weight.grad is not None and torch.allclose(layer.weight.grad, data[wanted], atol=1e-6, rtol=1e-3)
    with torch.no_grad():
        assert near(encoder(x[:, :, :1]), data["z_first_frame"]) and near(encoder(x[:, :, :5]), data["z_5_frames"])
        assert near(decoder(data["quantized"][:, :, :1]), data["rec_first_frame"])
        assert near(decoder(data["quantized"][:, :, :2]), data["rec_5_frames"])


@torch.no_grad()
def test_open_magvit2_video(golden_video: Path) -> None:
    data = read(golden_video, "seed_voken", "seed_voken_decoder")
    config = MAGVIT2VideoConfig(channels=32, multipliers=(1, 2, 2), blocks=1, halve_frames=(False, True), **FORM)
    encoder, decoder = magvit2(config, 32, 10, 3)
    fill((encoder, decoder), data, SEED, 3)
    assert near(encoder(data["input"]), data["z"]) and near(decoder(data["quantized"]), data["reconstruction"])
    assert near(encoder(data["input"][:, :, :1]), data["z_first_frame_alone"])


@torch.no_grad()
def test_vidtok(golden_video: Path) -> None:
    data = read(golden_video, "vidtok")
    encoder, decoder = vidtok(VidTokConfig(channels=16, multipliers=(1, 2, 2, 2), blocks=1), 32, 5, 3)
    fill((encoder, decoder), data, VIDTOK, 4)
    assert near(encoder(data["input"]), data["z"]) and near(decoder(data["quantized"]), data["reconstruction"])
    assert near(encoder(data["input"][:, :, :1]), data["z_first_frame_alone"])
    assert near(decoder(data["quantized"][:, :, :1]), data["rec_first_frame_alone"])
    assert near(encoder(data["input"][:, :, :5]), data["z_5_frames"])


@torch.no_grad()
def test_cosmos_dv(golden_video: Path) -> None:
    data = read(golden_video, "cosmos")
    config = CosmosDVConfig(
        channels=16,
        multipliers=(1, 2, 2),
        blocks=1,
        latent_channels=8,
        patch_size=2,
        spatial_compression=8,
        temporal_compression=4,
        attention_levels=(2,),
    )
    encoder, decoder = cosmos(config, 32, 6, 3)
    fill((encoder, decoder), data, COSMOS, 3)
    assert near(encoder(data["input"]), data["z"]) and near(decoder(data["codes"]), data["reconstruction"])
    assert near(encoder(data["input"][:, :, :1]), data["z_first_frame_alone"])
    assert near(decoder(data["codes"][:, :, :1]), data["rec_first_frame_alone"])
