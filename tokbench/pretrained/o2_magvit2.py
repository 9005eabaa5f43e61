"""O2-MAGVIT2 for videos (cofe-ai/O2-MAGVIT2 ``modeling/magvit2.py``): MAGVIT-v2's figure, exactly causal.

The quantizer is lookup-free, most significant bit first, and has no weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, clip_size, count, image_channels, pyramid, size
from .tokenizer_config import config_of_weights
from .vqgan_family import rename

_BLOCK = (
    ("norm_0.norm_fn", "norm1"),
    ("conv_0.conv", "conv1"),
    ("norm_1.norm_fn", "norm2"),
    ("conv_1.conv", "conv2"),
    ("conv_shortcut.conv", "shortcut"),
)
_RES = "res_blocks.res_block"

LAYOUT = Layout(
    prefixes=(
        ("encoder.conv_first.conv", "encoder.stem"),
        *inside(f"encoder.{_RES}_final.res_block_final_{{j}}", "encoder.middle.{j}", _BLOCK),
        # The encoder's blocks after the first are all called as if they were the first level's.
        *inside(f"encoder.{_RES}_{{i}}.res_block_{{i}}_0", "encoder.levels.{i}.0", _BLOCK),
        *inside(f"encoder.{_RES}_{{i}}.res_block_0_{{j}}", "encoder.levels.{i}.{j}", _BLOCK),
        ("encoder.conv_downsample_blocks.conv_downsample_{i}.conv", "encoder.down.{i}"),
        ("encoder.final_norm.norm_fn", "encoder.norm"),
        ("encoder.conv_last.conv", "encoder.head"),
        ("decoder.conv_first.conv", "decoder.stem"),
        *inside(f"decoder.{_RES}_pre.res_block_pre_{{j}}", "decoder.middle.{j}", _BLOCK),
        *inside(f"decoder.{_RES}_{{i}}.res_block_{{i}}_{{j}}", "decoder.levels.{i}.{j}", _BLOCK),
        ("decoder.conv_upsample_blocks.conv_upsample_{i}.conv1.conv", "decoder.up.{i}.conv"),
        ("decoder.cond_norm_layers.cond_norm_{i}.gamma", "decoder.adaptive.{i}.scale"),
        ("decoder.cond_norm_layers.cond_norm_{i}.beta", "decoder.adaptive.{i}.shift"),
        ("decoder.final_norm.norm_fn", "decoder.norm"),
        ("decoder.conv_last.conv", "decoder.head"),
    ),
    components=(),
    level=r"encoder\.res_blocks\.res_block_(\d+)\.",
)

# Of configs/magvit2_3d_train_config.yaml, and the inverse temperature 100 and the epsilon of its entropies.
COMMITMENT, ENTROPY, TEMPERATURE, LOG_EPSILON = 0.25, 0.1, 0.01, 1e-5


def recognises(names: Collection[str]) -> bool:
    """By the decoder's conditional norms beside 3D convolutions, which its image form has not."""
    return "decoder.cond_norm_layers.cond_norm_0.gamma.weight" in names and "encoder.conv_first.conv.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the model's YAML (``model.{encoder, decoder, quantize_model}``)."""
    tensors, other = rename(given, LAYOUT, path)
    model = video_pyramid(tensors, path)
    bits = model["code_channels"]
    shown = {
        "filters": model["channels"],
        "channel_multipliers": model["multipliers"],
        "num_res_blocks": model["blocks"],
        "temporal_downsample": model["halve_frames"],
    }
    agree(section(config, "channel_multipliers"), shown, path)
    for key, value in (("codebook_bits", bits), ("token_size", bits), ("codebook_size", 2**bits)):
        agree(section(config, key), {key: value}, path)
    quantizer = {
        "name": "lfq",
        "codebook_size": 2**bits,
        "bit_order": "msb_first",
        "temperature": TEMPERATURE,
        "commitment_weight": COMMITMENT,
        "entropy_weight": ENTROPY,
        "entropy_anneal_steps": 0,  # these weights are past it
        "log_eps": LOG_EPSILON,
    }
    clip = clip_size(section(config, "spatial_size").get("spatial_size") or 256, config)
    left = {name for name in other if name.startswith(("discriminator.", "perceptual_model."))}
    return TokenizerPlan(
        config=config_of_weights(tensors, clip, {**model, "norm_epsilon": 1e-5}, quantizer, path),
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={"losses and discriminator": sorted(left)},
        left_over=sorted(other - left),
    )


def video_pyramid(tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    """What the weights of a ``magvit2-video`` model show of its settings."""
    image_channels(tensors, path)
    model = pyramid(tensors, path, "encoder.levels.{i}.{j}")
    found = {"middle blocks": count(tensors, r"encoder\.middle\.(\d+)\.")}
    agree(found, {"middle blocks": model["blocks"]}, path)
    ups = [f"decoder.up.{i}.conv.weight" for i in reversed(range(len(model["multipliers"]) - 1))]
    return {
        "architecture": "magvit2-video",
        **model,
        "code_channels": size(tensors, "encoder.head.weight", 0, path),
        "halve_frames": [size(tensors, up, 0, path) == 8 * size(tensors, up, 1, path) for up in ups],
    }


register(Importer("o2-magvit2", recognises, read))
