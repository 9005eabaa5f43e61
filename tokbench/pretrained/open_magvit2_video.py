"""Open-MAGVIT2's tokenizer of videos (TencentARC/SEED-Voken ``improved_video_model.py``): a Lightning ``state_dict``.

GroupNorm and the adaptive norms look at the whole clip, so the first frame alone has other codes than in a clip.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .o2_magvit2 import video_pyramid
from .open_magvit2 import lookup_free
from .settings import agree, clip_size, image_channels
from .tokenizer_config import config_of_weights
from .vqgan_family import rename

_BLOCK = (
    ("norm1", "norm1"),
    ("conv1.conv_1", "conv1"),
    ("norm2", "norm2"),
    ("conv2.conv_1", "conv2"),
    ("nin_shortcut.conv_1", "shortcut"),
)

LAYOUT = Layout(
    prefixes=(
        ("encoder.conv_in.conv_1", "encoder.stem"),
        *inside("encoder.down.{i}.block.{j}", "encoder.levels.{i}.{j}", _BLOCK),
        ("encoder.down.{i}.downsample.conv_1", "encoder.down.{i}"),
        *inside("encoder.mid_block.{j}", "encoder.middle.{j}", _BLOCK),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out.conv_1", "encoder.head"),
        ("decoder.conv_in.conv_1", "decoder.stem"),
        *inside("decoder.mid_block.{j}", "decoder.middle.{j}", _BLOCK),
        *inside("decoder.up.{i}.block.{j}", "decoder.levels.{-i}.{j}", _BLOCK),
        ("decoder.up.{i}.upsample.conv1.conv_1", "decoder.up.{-i}.conv"),
        ("decoder.adaptive.{i}.gamma", "decoder.adaptive.{-i}.scale"),
        ("decoder.adaptive.{i}.beta", "decoder.adaptive.{-i}.shift"),
        ("decoder.norm_out", "decoder.norm"),
        ("decoder.conv_out.conv_1", "decoder.head"),
    ),
    components=(),
    level=r"encoder\.down\.(\d+)\.",
)

FORM = {"norm_over": "clip", "adaptive": "clip", "dropped_frame": "second", "stem_bias": False}
"""What sets this form of MAGVIT-v2 apart from the paper's figure."""


def recognises(names: Collection[str]) -> bool:
    """By the adaptive GroupNorm beside 3D convolutions."""
    return "decoder.adaptive.0.gamma.weight" in names and "encoder.conv_in.conv_1.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from a Lightning checkpoint and its LightningCLI YAML (``model.init_args``)."""
    tensors, other = rename(given, LAYOUT, path)
    model = video_pyramid(tensors, path)
    bits, channels = model["code_channels"], image_channels(tensors, path)
    ddconfig = section(config, "ch_mult")
    shown = {"ch": model["channels"], "ch_mult": model["multipliers"], "num_res_blocks": model["blocks"]}
    agree(ddconfig, {**shown, "z_channels": bits, "in_channels": channels, "out_ch": channels}, path)
    losses = {name for name in other if name.startswith("loss.")}
    return TokenizerPlan(
        config=config_of_weights(
            tensors,
            clip_size(ddconfig.get("resolution") or 128, config),
            {**model, **FORM},
            lookup_free(config, bits, path),
            path,
        ),
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={"losses and discriminator": sorted(losses)},
        left_over=sorted(other - losses),
    )


register(Importer("open-magvit2-video", recognises, read, evaluates="ema", classes=("VQModel",)))
