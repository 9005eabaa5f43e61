"""MaskGIT's VQ-GAN as open-muse ported it: ``maskgit-vqgan-imagenet-f16-256.bin``, whose codes TiTok, RAR and others
learn."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from torch import Tensor

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, count, pyramid, size
from .taming import BETA, CODEBOOK, quantizer_of
from .tokenizer_config import config_of_weights
from .vqgan_family import COMPONENTS, rename


def decoder_names(official: str, ours: str) -> tuple[tuple[str, str], ...]:
    """(official, ours) of the decoder's parts, whose levels are numbered from full resolution."""
    pairs = (
        ("conv_in", "stem"),
        ("mid.{j}", "middle.{j}"),
        ("up.{i}.block.{j}", "levels.{-i}.blocks.{j}"),
        ("up.{i}.upsample_conv", "levels.{-i}.resample.conv"),
        ("norm_out", "norm"),
        ("conv_out", "head"),
    )
    return tuple((f"{official}.{theirs}", f"{ours}.{own}") for theirs, own in pairs)


LAYOUT = Layout(
    prefixes=(
        ("encoder.conv_in", "encoder.stem"),
        ("encoder.down.{i}.block.{j}", "encoder.levels.{i}.blocks.{j}"),
        ("encoder.mid.{j}", "encoder.middle.{j}"),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out", "encoder.to_code"),
        *decoder_names("decoder", "decoder"),
    ),
    components=COMPONENTS,
    level=r"encoder\.down\.(\d+)\.",
)


def recognises(names: Collection[str]) -> bool:
    """By blocks without attention on both sides of one plain codebook, and no convolution that halves the sides."""
    wanted = {CODEBOOK, "encoder.mid.0.conv1.weight", "decoder.mid.0.conv1.weight", "decoder.up.1.upsample_conv.weight"}
    return wanted <= set(names) and "encoder.down.0.down_conv.weight" not in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the class's settings (``channel_mult``, ``num_embeddings`` ...), if there are any."""
    tensors, other = rename(given, LAYOUT, path)
    found = pyramid(tensors, path)
    latent, codes = size(tensors, "encoder.to_code.weight", 0, path), size(given, CODEBOOK, 0, path)
    said = section(config, "channel_mult")
    agree(said, official_settings(found, latent, codes), path)
    model = {"architecture": "maskgit", **found, "latent_channels": latent, "dropout": float(said.get("dropout") or 0)}
    # what that class calls the commitment's cost weighs the codebook's term, too
    quantizer = quantizer_of(codes, float(said.get("commitment_cost", BETA)))
    side = int(section(config, "resolution").get("resolution") or 256)
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer, path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=LAYOUT,
        left_over=sorted(other - {CODEBOOK}),
    )


def official_settings(found: dict[str, Any], latent: int, codes: int) -> dict[str, Any]:
    """Under the names of the official configuration."""
    return {
        "channel_mult": found["multipliers"],
        "num_resolutions": len(found["multipliers"]),
        "hidden_channels": found["channels"],
        "num_res_blocks": found["blocks"],
        "z_channels": latent,
        "num_embeddings": codes,
    }


def decoder_settings(tensors: dict[str, Tensor], start: str, path: str) -> dict[str, Any]:
    """Of a decoder alone, whose weights by our names begin with ``start``."""
    levels = count(tensors, re.escape(start) + r"levels\.(\d+)\.")
    widths = [size(tensors, f"{start}levels.{i}.blocks.0.conv2.weight", 0, path) for i in reversed(range(levels))]
    channels = math.gcd(*widths)
    return {
        "channels": channels,
        "multipliers": [width // channels for width in widths],
        "blocks": count(tensors, re.escape(start) + r"middle\.(\d+)\."),
        "latent_channels": size(tensors, f"{start}stem.weight", 1, path),
    }


register(Importer("maskgit-vq", recognises, read))
