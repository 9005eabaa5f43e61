"""The recipes after papers build the authors' networks: their settings, as the authors' code takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.loading import load_recipe
from tokbench.config.model import TokenizerConfig
from tokbench.generators.building import build, configure
from tokbench.models import Tokenizer
from tokbench.pretrained.exporter import official_layout

# CompVis/taming-transformers configs/imagenet_vqgan.yaml; its code always has attention in the middle.
TAMING = {
    "double_z": False, "z_channels": 256, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "dropout": 0.0,
}  # fmt: skip
# kakaobrain/rq-vae-transformer configs/imagenet256/stage1/in256-rqvae-8x8x4.yaml
KAKAO = {**TAMING, "ch_mult": [1, 1, 2, 2, 4, 4], "attn_resolutions": [8]}


def tokenizer(name: str) -> Tokenizer:
    recipe = load_recipe(name)
    return Tokenizer(TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer))


@pytest.mark.parametrize(
    ("name", "ddconfig", "embed_dim", "n_embed"),
    [
        ("vqgan-f16-1024", TAMING, 256, 1024),
        ("vqgan-f16-16384", TAMING, 256, 16384),
        ("rqvae-8x8x4", KAKAO, 256, 16384),
    ],
)
def test_settings(name: str, ddconfig: dict[str, Any], embed_dim: int, n_embed: int) -> None:
    _, said = official_layout(tokenizer(name), "taming" if name.startswith("vqgan") else "rqvae")
    settings = said["model"]["params"] if "model" in said else {**said["arch"], **said["arch"]["hparams"]}
    assert (settings["ddconfig"], settings["embed_dim"], settings["n_embed"]) == (ddconfig, embed_dim, n_embed)


@pytest.mark.parametrize(
    ("name", "copies", "least", "most"),
    [
        ("rqvae-8x8x4", 1, 104.35e6 * 4, 104.45e6 * 4),  # published as 104.4M parameters
        ("llamagen-f16", 1, 281e6, 288e6),  # the size of the published file
        ("lfq-18bit", 2, 920e6, 922e6),  # Open-MAGVIT2's file, which holds live and averaged weights
    ],
)
def test_bytes_of_the_weights(name: str, copies: int, least: float, most: float) -> None:
    with torch.device("meta"):
        assert least <= tokenizer(name).parameter_count * 4 * copies <= most


def test_parameters_of_var() -> None:
    recipe = load_recipe("generators/var-d16")
    assert isinstance(recipe, GeneratorRecipe)
    with torch.device("meta"):
        stage1 = tokenizer("var-vqvae")
        made = build(configure(recipe.generator, stage1, source="here", image_size=256, num_classes=1000))
    learned = sum(p.numel() for p in made.parameters() if p.requires_grad)
    assert learned / 1e6 == pytest.approx(310, abs=1) and stage1.prefixes()[-1].positions == 680  # as published


@pytest.mark.parametrize(
    ("name", "stage1", "classes", "millions"),
    # Lee et al. 2022 (arXiv:2203.01941), table 6
    [
        ("rq-355m", "ffhq256-rqvae-8x8x4", 0, 355),
        ("rq-481m", "rqvae-8x8x4", 1000, 481),
        ("rq-821m", "rqvae-8x8x4", 1000, 821),
        ("rq-1.4b", "rqvae-8x8x4", 1000, 1388),
        ("rq-3.8b", "rqvae-8x8x4", 1000, 3823),
    ],
)
def test_parameters_of_the_rq_transformers(name: str, stage1: str, classes: int, millions: int) -> None:
    recipe = load_recipe(f"generators/{name}")
    assert isinstance(recipe, GeneratorRecipe)
    with torch.device("meta"):
        settings = configure(recipe.generator, tokenizer(stage1), source="here", image_size=256, num_classes=classes)
        made = build(settings)
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.6)  # as rounded there
    assert settings.generator.class_dropout == 0.0 and recipe.training.warmup_steps == 0


@pytest.mark.parametrize(
    ("name", "classes", "drawn"), [("magvit2-video-ucf101", 101, 1280), ("magvit2-video-k600", 0, 768)]
)
def test_parameters_of_magvits_transformer(name: str, classes: int, drawn: int) -> None:
    recipe, stage1 = load_recipe(f"generators/{name}"), load_recipe(name)
    assert isinstance(recipe, GeneratorRecipe)
    assert (recipe.data.source, recipe.data.image_size) == (stage1.data.source, stage1.data.image_size)
    with torch.device("meta"):
        size = recipe.data.image_size
        settings = configure(recipe.generator, tokenizer(name), source="here", image_size=size, num_classes=classes)
        made = build(settings)
    assert settings.shape == (5, 16, 16, 2) and made.codes_per_image == 2 * drawn
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(306, abs=2)  # of MAGVIT-L
