"""VidTok with FSQ (microsoft/VidTok ``vidtok/modules/model_3dcausal.py``), also as diffusers' AutoencoderVidTok.

The quantizer has no weights: every release has 8 levels a channel, and the code counts the first channel fastest.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, clip_size, image_channels, pyramid, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import rename

_NORMS = (("norm1.norm", "norm1"), ("norm2.norm", "norm2"), ("norm1", "norm1"), ("norm2", "norm2"))
_SPACE = (*_NORMS, ("conv1", "conv1"), ("conv2", "conv2"), ("nin_shortcut", "shortcut"))
_TIME = (*_NORMS, ("conv1.conv", "conv1"), ("conv2.conv", "conv2"), ("nin_shortcut.conv", "shortcut"))
_ATTENTION = (
    ("norm.norm", "norm"),
    ("norm", "norm"),
    ("q.conv", "q"),
    ("k.conv", "k"),
    ("v.conv", "v"),
    ("proj_out.conv", "out"),
)


def _side(official: str, ours: str, level: str, levels: str, down: str) -> tuple[tuple[str, str], ...]:
    """The encoder's names or the decoder's, which differ in their levels."""
    return (
        (f"{official}.conv_in.conv", f"{ours}.stem"),
        *inside(f"{official}.{level}.{{i}}.block.{{j}}", f"{ours}.{levels}.space.{{j}}", _SPACE),
        *inside(f"{official}.{level}_temporal.{{i}}.block.{{j}}", f"{ours}.{levels}.time.{{j}}", _TIME),
        (f"{official}.{level}.{{i}}.{down}.conv", f"{ours}.{levels}.resample.conv"),
        (f"{official}.{level}_temporal.{{i}}.{down}.conv.conv", f"{ours}.{levels}.resample_time.conv"),
        (f"{official}.{level}_temporal.{{i}}.{down}.mix_factor", f"{ours}.{levels}.resample_time.mix"),
        *inside(f"{official}.mid.block_1", f"{ours}.middle.0", _TIME),
        *inside(f"{official}.mid.attn_1", f"{ours}.middle.1", _ATTENTION),
        *inside(f"{official}.mid.block_2", f"{ours}.middle.2", _TIME),
        (f"{official}.norm_out.norm", f"{ours}.norm"),
        (f"{official}.norm_out", f"{ours}.norm"),
        (f"{official}.conv_out.conv", f"{ours}.head"),
    )


LAYOUT = Layout(
    prefixes=(
        *_side("encoder", "encoder", "down", "levels.{i}", "downsample"),
        *_side("decoder", "decoder", "up", "levels.{-i}", "upsample"),
    ),
    components=(),
    level=r"encoder\.down\.(\d+)\.",
)


def recognises(names: Collection[str]) -> bool:
    """By the blocks in time, whose convolutions are causal."""
    return "encoder.down_temporal.0.block.0.conv1.conv.weight" in names and "encoder.conv_in.conv.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from a Lightning checkpoint and its YAML, or diffusers' weights and ``config.json``."""
    tensors, other = rename(given, LAYOUT, path)
    tensors = {name: _five_axes(name, tensor) for name, tensor in tensors.items()}
    said = section(config, "ch_mult")
    model = _model(tensors, given, said, config, path)
    channels, bits = image_channels(tensors, path), model["code_channels"]
    require(said, path, fix_encoder=False, is_causal=True, regularizer="fsq")
    if size(tensors, "decoder.stem.weight", 1, path) != bits or said.get("double_z"):
        raise TokbenchError(f"{path}: a KL autoencoder, which has no codes; the FSQ releases are called vidtok_fsq_*")
    levels = section(config, "levels").get("levels") or [8] * bits
    agree({"levels": len(levels)}, {"levels": bits}, path)
    losses = {name for name in other if name.startswith(("loss.", "regularization."))}
    notes = [] if section(config, "levels") else [f"taken to have 8 levels in each of its {bits} channels, as released"]
    if not said:
        notes.append("taken for VidTok 1.0; 1.1 has the same names: give its configuration to be sure")
    return TokenizerPlan(
        config=config_of_weights(
            tensors,
            clip_size(section(config, "resolution").get("resolution") or 256, config),
            model,
            {"name": "fsq", "levels": list(levels)},
            path,
            channels,
        ),
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={"losses and regularizer": sorted(losses)},
        left_over=sorted(other - losses),
        notes=notes,
    )


def _five_axes(name: str, weight: Tensor) -> Tensor:
    """A 1D convolution in time or a 2D one in space as a 3D one."""
    if weight.ndim == 3:
        return weight[..., None, None]
    return weight[:, :, None] if weight.ndim == 4 else weight


def _model(
    tensors: dict[str, Tensor], given: dict[str, Tensor], said: dict[str, Any], config: dict[str, Any], path: str
) -> dict[str, Any]:
    """The model's settings, read off the weights and held against the configuration."""
    found = pyramid(tensors, path, "encoder.levels.{i}.space.{j}")
    levels = range(len(found["multipliers"]))
    down = [i for i in levels if f"encoder.down_temporal.{i}.downsample.mix_factor" in given]
    up = [i for i in levels if f"decoder.up_temporal.{i}.upsample.mix_factor" in given]
    bits, channels = size(tensors, "encoder.head.weight", 0, path), image_channels(tensors, path)
    layer = "encoder.norm_out.norm.weight" in given
    shown = {"ch": found["channels"], "ch_mult": found["multipliers"], "num_res_blocks": found["blocks"]}
    agree(said, {**shown, "z_channels": bits, "in_channels": channels, "out_ch": channels}, path)
    agree(said, {"norm_type": "layernorm" if layer else "groupnorm"}, path)
    for key, value in (
        ("tempo_ds", down),
        ("tempo_us", up),
        ("spatial_ds", [*levels][:-1]),
        ("spatial_us", [*levels][1:]),
    ):
        if isinstance(said.get(key), (list, tuple)):
            agree({key: sorted(said[key])}, {key: value}, path)
    agree(said, {"time_downsample_factor": 2 ** len(down)}, path)
    diffusers = config.get("_class_name") == "AutoencoderVidTok"
    release = "1.1" if diffusers or "_v1_1" in _classes(config) else "1.0"
    linear = diffusers or said.get("interpolation_mode") == "trilinear"
    return {
        "architecture": "vidtok",
        **found,
        "code_channels": bits,
        "down_frames": down,
        "up_frames": up,
        "norm": "layer" if layer else "group",
        "release": release,
        "interpolation": "linear" if linear else "nearest",
        "dropout": float(said.get("dropout") or 0.0),
    }


def _classes(config: dict[str, Any]) -> str:
    """The class of the encoder, with its module."""
    return str(section(config, "encoder_config").get("encoder_config", {}).get("target", ""))


register(Importer("vidtok", recognises, read))
