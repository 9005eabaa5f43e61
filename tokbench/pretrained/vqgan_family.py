"""What taming, RQ-VAE and LlamaGen checkpoints share: VQ-GAN's modules with a 1x1 convolution on either side."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .names import Layout
from .settings import agree, attention_resolutions, count, image_channels, pyramid, size

COMPONENTS = (("nin_shortcut", "shortcut"), ("proj_out", "out"))

# taming's names, which RQ-VAE keeps: the decoder's levels are numbered from full resolution.
TAMING = Layout(
    prefixes=(
        ("encoder.conv_in", "encoder.stem"),
        ("encoder.down.{i}.block.{j}", "encoder.levels.{i}.blocks.{j}"),
        ("encoder.down.{i}.attn.{j}", "encoder.levels.{i}.attention.{j}"),
        ("encoder.down.{i}.downsample", "encoder.levels.{i}.resample"),
        ("encoder.mid.block_1", "encoder.middle.0"),
        ("encoder.mid.attn_1", "encoder.middle.1"),
        ("encoder.mid.block_2", "encoder.middle.2"),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out", "encoder.head"),
        ("quant_conv", "encoder.to_code"),
        ("post_quant_conv", "decoder.from_code"),
        ("decoder.conv_in", "decoder.stem"),
        ("decoder.mid.block_1", "decoder.middle.0"),
        ("decoder.mid.attn_1", "decoder.middle.1"),
        ("decoder.mid.block_2", "decoder.middle.2"),
        ("decoder.up.{i}.block.{j}", "decoder.levels.{-i}.blocks.{j}"),
        ("decoder.up.{i}.attn.{j}", "decoder.levels.{-i}.attention.{j}"),
        ("decoder.up.{i}.upsample", "decoder.levels.{-i}.resample"),
        ("decoder.norm_out", "decoder.norm"),
        ("decoder.conv_out", "decoder.head"),
    ),
    components=COMPONENTS,
    level=r"encoder\.down\.(\d+)\.",
)

# What settings are read off.
ENCODER_ENDS = ("encoder.stem.weight", "encoder.head.weight", "encoder.to_code.weight")
_ENDS = (*ENCODER_ENDS, "decoder.head.weight")


def rename(
    tensors: dict[str, Tensor], layout: Layout, path: str, ends: Collection[str] = _ENDS
) -> tuple[dict[str, Tensor], set[str]]:
    """The model's tensors by our names, and the official names that are not the model's.

    TokbenchError without one of ``ends``, of those that the model has.
    """
    levels = layout.levels(tensors)
    if not levels:
        raise TokbenchError(f"{path}: no encoder in it; its first weights: {', '.join(list(tensors)[:5])}")
    ours, other = layout.split(tensors, levels)
    official = (layout.official(name, levels) for name in ends if name not in ours)
    if missing := [name for name in official if name]:
        raise TokbenchError(f"{path}: the checkpoint has no weight for {', '.join(missing)}")
    return ours, other


def widths(tensors: dict[str, Tensor], path: str, code: str = "to_code") -> dict[str, Any]:
    """What the encoder's weights show of the model's settings; ``code``: its last convolution."""
    latent, codes = (size(tensors, f"encoder.{name}.weight", 0, path) for name in ("head", code))
    return {**pyramid(tensors, path), "latent_channels": latent, "code_channels": codes}


def model_settings(
    tensors: dict[str, Tensor], ddconfig: dict[str, Any], path: str, any_channels: bool = False
) -> dict[str, Any]:
    """The model's settings by our names, read off the weights and held against a taming-style ``ddconfig``.

    Its images are RGB or grey, unless ``any_channels``.
    """
    if ddconfig.get("double_z"):
        raise TokbenchError(f"{path}: ddconfig.double_z is true: a KL autoencoder, which has no codes")
    found = widths(tensors, path)
    channels = image_channels(tensors, path, any_channels)
    agree(
        ddconfig,
        {
            "ch": found["channels"],
            "ch_mult": found["multipliers"],
            "num_res_blocks": found["blocks"],
            "z_channels": found["latent_channels"],
            "in_channels": channels,
            "out_ch": channels,
        },
        path,
    )
    return {**found, "dropout": float(ddconfig.get("dropout") or 0.0)}


def attention_levels(tensors: dict[str, Tensor]) -> list[int]:
    """Encoder levels with attention blocks."""
    levels = count(tensors, r"encoder\.levels\.(\d+)\.")
    return [i for i in range(levels) if f"encoder.levels.{i}.attention.0.q.weight" in tensors]


def attention_at_lowest(tensors: dict[str, Tensor], path: str, optional: bool = False) -> bool:
    """Whether the lowest level has attention; TokbenchError where another has, or none, unless that is ``optional``."""
    levels = attention_levels(tensors)
    last = count(tensors, r"encoder\.levels\.(\d+)\.") - 1
    if levels != [last] and (levels or not optional):
        nowhere = ", or nowhere" if optional else ""
        raise TokbenchError(f"{path}: attention at levels {levels}; this model has it at the lowest, {last}{nowhere}")
    return bool(levels)


def middle_attention(tensors: dict[str, Tensor]) -> bool:
    """Whether there is attention between the two middle blocks."""
    return "encoder.middle.1.q.weight" in tensors


def taming_model(
    architecture: str, tensors: dict[str, Tensor], ddconfig: dict[str, Any], path: str, any_channels: bool = False
) -> tuple[int, dict[str, Any]]:
    """(image size, model settings) where attention goes by resolution. The size is the configuration's, else 256."""
    settings = model_settings(tensors, ddconfig, path, any_channels)
    image_size = int(ddconfig.get("resolution") or 256)
    levels = attention_levels(tensors)
    sides = attention_resolutions(
        ddconfig.get("attn_resolutions"), levels, image_size, len(settings["multipliers"]), path
    )
    return image_size, {
        "architecture": architecture,
        **settings,
        "attention_resolutions": sides,
        "middle_attention": middle_attention(tensors),
    }
