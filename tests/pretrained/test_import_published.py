"""MaskBit, diffusers, Janus, Chameleon and Emu3: official codes and images, names there and back, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import refusal, renamed, taming
from safetensors.torch import save_file
from torch import Tensor

from tokbench import pretrained
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained import diffusers, emu3, janus, maskbit, maskgit_vq
from tokbench.pretrained.names import Layout
from tokbench.pretrained.taming import CODEBOOK
from tokbench.pretrained.vqgan_family import TAMING

# source, weights, settings, whether its images are in [0, 1], key of the codes, whether it has images
PUBLISHED = [
    ("maskbit", "maskbit_lfq.bin", "maskbit_lfq.yaml", True, "indices", True),
    ("maskbit", "maskbit_vq.bin", "maskbit_vq.yaml", True, "indices", True),
    ("maskbit", "maskbit_legacy.bin", "maskbit_legacy.yaml", True, "indices", True),
    ("diffusers", "diffusers_vqmodel_group", None, False, "indices", True),
    ("diffusers", "diffusers_vqmodel_spatial", None, False, "indices", True),
    ("chameleon", "transformers_chameleon_vqvae", None, False, "indices", False),
    ("janus", "transformers_janus_vqvae", None, False, "indices_of_the_normalised_search", False),
    ("emu3", "transformers_emu3_vqvae", None, False, "indices", True),
]


@pytest.mark.parametrize(("source", "weights", "settings", "unit", "codes", "images"), PUBLISHED)
def test_official_outputs(
    source: str, weights: str, settings: str | None, unit: bool, codes: str, images: bool, golden_successors: Path
) -> None:
    """Found by the names alone, too."""
    config = golden_successors / settings if settings else None
    made, report = pretrained.read(None, golden_successors / weights, config)
    assert report.source == source and not report.left_over
    with np.load(golden_successors / f"{Path(weights).stem}_io.npz") as data:
        wanted = {key: torch.from_numpy(data[key]) for key in data.files}
    given = wanted["x"] * 2 - 1 if unit else wanted["x"]
    with torch.no_grad():
        assert (
            made.latents(given) - wanted["latent"].reshape(len(given), -1, *made.grid(given.shape[2:]))
        ).abs().max() < 1e-4
        found = made.encode(given)
        assert torch.equal(found[..., 0], wanted[codes])
        if images:
            drawn = made.decode(found)
            assert ((drawn + 1) / 2 if unit else drawn).sub(wanted["reconstruction"]).abs().max() < 1e-4
    made.quantizer.train()
    for loss in {"commit_loss", "train.quantizer_loss"} & set(wanted):
        assert torch.allclose(made.quantizer(wanted["latent"]).loss, wanted[loss], rtol=1e-4)


def official(made: Tokenizer, layout: Layout) -> dict[str, Tensor]:
    """Its weights by the published names."""
    levels = len(made.config.model.multipliers)  # type: ignore[attr-defined]
    parts = {name: t for name, t in made.state_dict().items() if not name.startswith("quantizer.")}
    state = {str(layout.official(name, levels)): tensor.clone() for name, tensor in parts.items()}
    return {**state, CODEBOOK: made.quantizer.codebook.clone()}  # type: ignore[operator]


VQ = {"name": "vq", "codebook_size": 16, "codebook_update": "gradient"}
SMALL = {"latent_channels": 8}
MADE = {
    "maskbit": ("maskbit", maskbit.LAYOUT, {**SMALL, "decoder_blocks": 2, "strided": False}),
    "legacy": ("maskgit", maskbit.LEGACY, SMALL),
    "maskgit-vq": ("maskgit", maskgit_vq.LAYOUT, SMALL),
    "diffusers": ("movq", diffusers.SPATIAL, {**SMALL, "middle_attention": False, "attention_resolutions": [8]}),
    "janus": ("llamagen", janus.LAYOUT, SMALL),
    "emu3": ("emu3", emu3.LAYOUT, {**SMALL, "code_channels": 8}),
    "chameleon": ("chameleon", TAMING, {**SMALL, "decoder": False}),
}


def state_of(name: str) -> tuple[Tokenizer, dict[str, Tensor]]:
    architecture, layout, model = MADE[name]
    settings = {"architecture": architecture, "multipliers": [1, 2], "blocks": 1, "channels": 32, **model}
    torch.manual_seed(0)
    shape = {"image_size": 16, "model": settings, "quantizer": {**VQ, "l2_norm": name == "janus"}}
    made = Tokenizer(TokenizerConfig.model_validate(shape)).eval()
    state = official(made, layout)
    if name == "chameleon":
        width = made.config.model.latent_channels  # type: ignore[attr-defined]
        shape = (width, made.quantizer.dim, 1, 1)
        state |= {"post_quant_conv.weight": torch.randn(shape), "post_quant_conv.bias": torch.randn(width)}
    return made, {
        key: t[..., 0, 0] if (".to_" in key or "_proj." in key) and t.ndim == 4 else t for key, t in state.items()
    }


@pytest.mark.parametrize("name", MADE)
def test_names_there_and_back(name: str, tmp_path: Path) -> None:
    """As a part of a larger model's file; what is made saves and loads."""
    made, state = state_of(name)
    file = tmp_path / "model.safetensors"
    save_file({f"model.vqmodel.{key}": tensor.contiguous() for key, tensor in state.items()}, file)
    source = {"legacy": "maskbit"}.get(name, name)
    again, report = pretrained.read(source, file)
    assert report.source == source and not report.left_over
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    codes = made.encode(images)
    again.save_pretrained(tmp_path / "saved")
    for one in (again, Tokenizer.from_pretrained(tmp_path / "saved")):
        assert torch.equal(one.encode(images), codes)
        if name != "chameleon":
            assert torch.equal(one.decode(codes), made.decode(codes))
            continue
        with pytest.raises(ValueError, match="an encoder alone, as published: it gives codes, not images"):
            one.decode(codes)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("maskbit", {"channel_mult": [1, 4]}, r"channel_mult is [1, 4] in the configuration but [1, 2] in the weights"),
        ("maskbit", {"quantizer_type": "lookup-free"}, "quantizer_type is lookup-free"),
        ("legacy", {"quantizer_type": "lookup", "model_class": "vqgan+"}, "model_class is vqgan+ in the configuration"),
        ("diffusers", {"block_out_channels": [32, 64], "norm_type": "group"}, "norm_type is group"),
        ("diffusers", {"block_out_channels": [32, 64], "norm_num_groups": 48}, "48 groups of a norm do not divide"),
        ("diffusers", {"block_out_channels": [32, 64], "act_fn": "mish"}, "act_fn: 'mish' is not supported"),
        ("diffusers", {"block_out_channels": [32, 64], "down_block_types": ["DownBlock2D"]}, "DownBlock2D are not"),
        ("diffusers", {"_class_name": "AutoencoderKL"}, "configuration is of AutoencoderKL: no importer knows"),
        ("janus", {"channel_multiplier": [1, 2], "double_latent": True}, "double_latent: True is not supported"),
        ("janus", {"channel_multiplier": [1, 2], "num_embeddings": 99}, "num_embeddings is 99"),
        ("emu3", {"channel_multiplier": [1, 2], "attn_resolutions": []}, "attn_resolutions is [] in the configuration"),
        ("emu3", {"channel_multiplier": [1, 2], "temporal_downsample_factor": 2}, "temporal_downsample_factor is 2"),
        ("chameleon", {"channel_multiplier": [1, 2], "base_channels": 8}, "base_channels is 8"),
        ("chameleon", {"channel_multiplier": [1, 2], "resolution": 16, "attn_resolutions": [4]}, "attn_resolutions"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    name: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    torch.save(state_of(name)[1], tmp_path / "model.bin")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    source = {"legacy": "maskbit"}.get(name, name)
    assert said in refusal(tmp_path / "model.bin", source, config=tmp_path / "config.json")


@pytest.mark.parametrize("name", MADE)
def test_a_file_that_is_not_whole_or_not_of_the_layout_is_one_line(name: str, tmp_path: Path) -> None:
    state = state_of(name)[1]
    source = {"legacy": "maskbit"}.get(name, name)
    lost = next(key for key in state if key.startswith("encoder.") and key.endswith("norm1.weight"))
    torch.save({key: tensor for key, tensor in state.items() if key != lost}, tmp_path / "lost.bin")
    assert lost in refusal(tmp_path / "lost.bin", source)
    torch.save({**state, "encoder.more.weight": torch.ones(2)}, tmp_path / "more.bin")
    assert "encoder.more.weight" in refusal(tmp_path / "more.bin", source)
    torch.save(state, tmp_path / "whole.bin")
    for other in {"maskbit", "diffusers", "janus", "chameleon", "emu3", "llamagen", "maskgit-vq", "rqvae"} - {source}:
        assert f"not a checkpoint in the layout of {other}" in refusal(tmp_path / "whole.bin", other)


@pytest.mark.parametrize(
    ("architecture", "model"),
    [
        ("movq", {"attention_resolutions": [8], "latent_channels": 8}),
        ("vqgan", {"attention_resolutions": [16], "norm_groups": 8, "code_channels": 6}),
        pytest.param(
            "movq", {"attention_resolutions": [], "latent_channels": 8, "middle_attention": False},
            marks=pytest.mark.slow,
        ),
        pytest.param("llamagen", {"latent_channels": 6}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_to_diffusers_and_back(architecture: str, model: dict[str, Any], tmp_path: Path) -> None:
    """And in diffusers itself, where that is installed."""
    shape = {"architecture": architecture, "multipliers": [1, 2], "blocks": 1, "channels": 32, **model}
    config = TokenizerConfig.model_validate({"image_size": 16, "model": shape, "quantizer": VQ})
    made = Tokenizer(config).eval()
    pretrained.export(made, "diffusers", tmp_path / "out")
    again = pretrained.load(None, tmp_path / "out")
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    codes = made.encode(images)
    drawn = made.decode(codes).detach()
    assert torch.equal(again.encode(images), codes) and torch.equal(again.decode(codes), drawn)
    theirs = pytest.importorskip("diffusers").VQModel.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        latents = theirs.encode(images).latents
        assert torch.equal(theirs.quantize(latents)[2][2], codes.flatten())
        assert (theirs.decode(latents).sample - drawn).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("model", "quantizer", "said"),
    [
        ({"architecture": "magvit2"}, VQ, "diffusers has no VQModel like magvit2"),
        ({"architecture": "vqgan"}, {"name": "rq", "codebook_size": 16, "depth": 2}, "this tokenizer has rq"),
        ({"architecture": "vqgan"}, {**VQ, "l2_norm": True}, "no l2-normalised codebook"),
        ({"architecture": "vqgan", "channels": 24}, VQ, "norm_groups 32 and channels"),
        ({"architecture": "movq", "code_channels": 6}, VQ, "as latent_channels, 4, not 6"),
    ],
)
def test_what_diffusers_cannot_hold_is_one_line(
    model: dict[str, Any], quantizer: dict[str, Any], said: str, tmp_path: Path
) -> None:
    shape = {"multipliers": [1, 2], "blocks": 1, "channels": 32, **model}
    made = Tokenizer(TokenizerConfig.model_validate({"image_size": 16, "model": shape, "quantizer": quantizer}))
    with pytest.raises(TokbenchError, match=said):
        pretrained.export(made, "diffusers", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_alone_is_chameleons_without_its_configuration_too(tmp_path: Path) -> None:
    made = taming()
    weights = {name: t for name, t in renamed(made, TAMING).items() if not name.startswith("decoder.")}
    path = tmp_path / "vqmodel.safetensors"
    save_file({**weights, CODEBOOK: made.state_dict()["quantizer.codes.weight"].clone()}, path)
    brought, report = pretrained.read("auto", path)
    assert report.source == "chameleon" and "no image size was given: taken to be 512" in report.notes
    images = torch.rand(1, 3, 32, 32) * 2 - 1  # attention stands where the weights have it
    assert torch.equal(brought.encode(images), made.encode(images))
    assert "it looks like chameleon" in refusal(path, "taming")
