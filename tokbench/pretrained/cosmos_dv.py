"""Cosmos' discrete video tokenizers (NVIDIA/Cosmos-Tokenizer ``networks/discrete_video.py``), with FSQ."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from tokbench.config.video_model import CosmosDVConfig
from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, attention_resolutions, clip_size, count, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import rename

_FACTORIZED = (("0.conv3d", "0"), ("1.conv3d", "1"))
_BLOCK = (
    ("norm1.norm", "norm1"),
    *inside("conv1", "conv1", _FACTORIZED),
    ("norm2.norm", "norm2"),
    *inside("conv2", "conv2", _FACTORIZED),
    ("nin_shortcut.conv3d", "shortcut"),
)
_ATTENTION = (
    ("{k}.norm.norm", "{k}.norm"),
    ("{k}.q.conv3d", "{k}.q"),
    ("{k}.k.conv3d", "{k}.k"),
    ("{k}.v.conv3d", "{k}.v"),
    ("{k}.proj_out.conv3d", "{k}.out"),
)


def _side(side: str, level: str, levels: str, resample: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The encoder's names or the decoder's, which differ in their levels."""
    return (
        *inside(f"{side}.conv_in", f"{side}.stem", _FACTORIZED),
        *inside(f"{side}.{level}.{{i}}.block.{{j}}", f"{side}.{levels}.blocks.{{j}}", _BLOCK),
        *inside(f"{side}.{level}.{{i}}.attn.{{j}}", f"{side}.{levels}.attention.{{j}}", _ATTENTION),
        *inside(f"{side}.{level}.{{i}}", f"{side}.{levels}.resample", resample),
        *inside(f"{side}.mid.block_1", f"{side}.middle.0", _BLOCK),
        *inside(f"{side}.mid.attn_1", f"{side}.middle.1", _ATTENTION),
        *inside(f"{side}.mid.block_2", f"{side}.middle.2", _BLOCK),
        (f"{side}.norm_out.norm", f"{side}.norm"),
        *inside(f"{side}.conv_out", f"{side}.head", _FACTORIZED),
    )


_DOWN = tuple(
    (f"downsample.{theirs}.conv3d", ours)
    for theirs, ours in zip(("conv1", "conv2", "conv3"), ("space", "time", "out"), strict=True)
)
_UP = tuple(
    (f"upsample.{theirs}.conv3d", ours)
    for theirs, ours in zip(("conv1", "conv2", "conv3"), ("time", "space", "out"), strict=True)
)

LAYOUT = Layout(
    prefixes=(
        *_side("encoder", "down", "levels.{i}", _DOWN),
        *_side("decoder", "up", "levels.{-i}", _UP),
        ("quant_conv.conv3d", "encoder.to_code"),
        ("post_quant_conv.conv3d", "decoder.from_code"),
    ),
    components=(),
    level=r"encoder\.down\.(\d+)\.",
)

CONSTANTS = ("wavelets", "_arange", "patch_size_buffer")  # of the patches, where a file has them
LEVELS = [8, 8, 8, 5, 5, 5]  # of every release


def recognises(names: Collection[str]) -> bool:
    """By the factorised first convolution beside the map to the quantizer."""
    return "encoder.conv_in.1.conv3d.weight" in names and "quant_conv.conv3d.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the network's settings (``channels``, ``spatial_compression`` ...)."""
    tensors, other = rename(given, LAYOUT, path)
    said = section(config, "spatial_compression")
    if not said or "temporal_compression" not in said:
        raise TokbenchError(
            f"{path}: the weights do not show how far they compress: give a configuration with spatial_compression and "
            "temporal_compression, for example 8 and 4 of Cosmos-Tokenizer-DV4x8x8"
        )
    require(said, path, legacy_mode=False, num_groups=1, z_factor=1, quantizer="FSQ", encoder="FACTORIZED")
    model = _model(tensors, said, path)
    levels = section(config, "levels").get("levels") or LEVELS
    agree({"levels": len(levels)}, {"levels": model["code_channels"]}, path)
    constants = {name for name in other if name.endswith(CONSTANTS) or name.startswith("quantizer.")}
    clip = clip_size(said.get("resolution") or 256, config)
    whole = config_of_weights(tensors, clip, model, {"name": "fsq", "levels": list(levels)}, path, 3)
    assert isinstance(whole.model, CosmosDVConfig)
    unused = dict.fromkeys(_unused(tensors, whole.model))
    plan = TokenizerPlan(
        config=whole,
        tensors={name: tensor for name, tensor in tensors.items() if name not in unused},
        codebook={},
        layout=LAYOUT,
        left_over=sorted(other - constants),
    )
    official = [LAYOUT.official(name, len(model["multipliers"])) or name for name in unused]
    reasons = {"constants": sorted(constants), "convolutions of resamplings that do nothing": official}
    plan.ignored = {reason: names for reason, names in reasons.items() if names}
    return plan


def _model(tensors: dict[str, Tensor], said: dict[str, Any], path: str) -> dict[str, Any]:
    """The model's settings, read off the weights and held against the configuration."""
    channels, taken = (size(tensors, "encoder.stem.0.weight", axis, path) for axis in (0, 1))
    total = count(tensors, r"encoder\.levels\.(\d+)\.")
    widths = [size(tensors, f"encoder.levels.{i}.blocks.0.conv1.0.weight", 0, path) for i in range(total)]
    patch = next((p for p in (1, 2, 4, 8) if taken == 3 * p**3), 0)
    if not patch or any(width % channels for width in widths):
        raise TokbenchError(
            f"{path}: a model of patches of {taken} values and levels of {widths} channels is not Cosmos'"
        )
    latent, code = (size(tensors, f"encoder.{name}.weight", 0, path) for name in ("head.1", "to_code"))
    found = {
        "channels": channels,
        "channels_mult": [width // channels for width in widths],
        "num_res_blocks": count(tensors, r"encoder\.levels\.0\.blocks\.(\d+)\."),
        "z_channels": latent,
        "embedding_dim": code,
        "patch_size": patch,
    }
    agree(said, {**found, "in_channels": 3, "out_channels": 3}, path)
    attended = [i for i in range(total) if f"encoder.levels.{i}.attention.0.0.q.weight" in tensors]
    side = int(said.get("resolution") or 1024) // patch
    attention_resolutions(said.get("attn_resolutions"), attended, side, total, path)
    return {
        "architecture": "cosmos-dv",
        "channels": channels,
        "multipliers": found["channels_mult"],
        "blocks": found["num_res_blocks"],
        "latent_channels": latent,
        "code_channels": code,
        "patch_size": patch,
        "patch_method": said.get("patch_method", "haar"),
        "spatial_compression": said["spatial_compression"],
        "temporal_compression": said["temporal_compression"],
        "attention_levels": attended,
        "dropout": float(said.get("dropout") or 0.0),
    }


def _unused(tensors: dict[str, Tensor], config: CosmosDVConfig) -> Iterator[str]:
    """The weights that every resampling has and only some use: those of an axis that it leaves as it is."""
    for side, resamplings in (("encoder", config.downs), ("decoder", config.ups)):
        for i, used in enumerate(resamplings):
            parts = [part for part, does in zip(("space", "time"), used, strict=True) if not does]
            parts += ["out"] if not any(used) else []
            for part in parts:
                names = (f"{side}.levels.{i}.resample.{part}.{kind}" for kind in ("weight", "bias"))
                yield from (name for name in names if name in tensors)


register(Importer("cosmos-dv", recognises, read))
