"""GigaTok (SilentView/GigaTok ``VQVitModelPlus``): live and EMA weights, and a YAML of the constructor's arguments.

The number of attention heads is not in the weights: that of a width of 64 each, as in all of its sizes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.models.gigatok import SIZES

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, count, image_channels, pyramid, require, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights

HEAD = 64  # channels
MARK = "s2to1encoder."
USED = "quantize.codebook_used"
DISTILLATION = ("s1to2decoder.distill_mlp.", "distill_mlp.")
_BLOCK = (
    ("self_attn", "among"),
    ("multihead_attn", "reading"),
    ("linear1", "fc1"),
    ("linear2", "fc2"),
)


def _reader(official: str, ours: str, embed: str, places: str, memory_places: str) -> tuple[tuple[str, str], ...]:
    """Of the queries that read; what is a place of theirs and what one of the memory differs by the side."""
    return (
        *inside(f"{official}.transformer.{{j}}", f"{ours}.blocks.{{j}}", _BLOCK),
        (f"{official}.transformer.{{j}}", f"{ours}.blocks.{{j}}"),
        (f"{official}.{embed}", f"{ours}.embed"),
        (f"{official}.ln_pre", f"{ours}.norm_in"),
        (f"{official}.ln_post", f"{ours}.norm"),
        (f"{official}.{places}", f"{ours}.places"),
        (f"{official}.{memory_places}", f"{ours}.memory_places"),
    )


_TOKENS, _MAP = "latent_token_positional_embedding", "positional_embedding"

LAYOUT = Layout(
    prefixes=(
        *_reader("s2to1encoder", "encoder.reader", "encoder_embed", _TOKENS, _MAP),
        *_reader("s1to2decoder", "decoder.reader", "decoder_embed", _MAP, _TOKENS),
        ("s2to1encoder.global_proj", "encoder.queries"),
        ("s2to1encoder.conv_out", "encoder.to_latent"),
        ("quant_conv", "encoder.to_code"),
        ("post_quant_conv", "decoder.from_code"),
        ("s1to2decoder.conv_out", "decoder.to_map"),
        ("encoder.conv_in", "encoder.stem"),
        ("encoder.conv_blocks.{i}.res.{j}", "encoder.levels.{i}.blocks.{j}"),
        ("encoder.conv_blocks.{i}.downsample", "encoder.levels.{i}.resample"),
        ("encoder.mid.0", "encoder.middle.0"),
        ("encoder.mid.1", "encoder.middle.2"),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out", "encoder.head"),
        ("decoder.conv_in", "decoder.stem"),
        ("decoder.mid.0", "decoder.middle.0"),
        ("decoder.mid.1", "decoder.middle.2"),
        ("decoder.conv_blocks.{i}.res.{j}", "decoder.levels.{i}.blocks.{j}"),
        ("decoder.conv_blocks.{i}.upsample.conv1", "decoder.levels.{i}.resample.conv"),
        ("decoder.adaptive.{i}.gamma", "decoder.adaptive.{i}.scale"),
        ("decoder.adaptive.{i}.beta", "decoder.adaptive.{i}.shift"),
        ("decoder.norm_out", "decoder.norm"),
        ("decoder.conv_out", "decoder.head"),
    ),
    components=(("nin_shortcut", "shortcut"),),
    level=r"encoder\.conv_blocks\.(\d+)\.",
)
_AS_PUBLISHED = {
    "multi_level_query_init": True,
    "adaptive_gn": True,
    "d2s_up": True,
    **dict.fromkeys(("use_lfq", "simvq", "use_rope", "rope_1d", "use_qk_norm", "use_attn", "stochastic"), False),
    **dict.fromkeys(("learnable_1d_query_init", "res_up_down_sample", "res_codebook_updown_sample"), False),
    **dict.fromkeys(("last_level_2d_query_init", "multi_level_2d_query_init", "learnable_2d_query_init"), False),
}
"""Of the arguments, what all released models have and this importer reads."""


def recognises(names: Collection[str]) -> bool:
    """By queries that read a map between the convolutions and one codebook."""
    return CODEBOOK in names and {f"{MARK}encoder_embed.weight", "s1to2decoder.decoder_embed.weight"} <= set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the YAML (``model.init_args``)."""
    said = section(config, "codebook_l2_norm") or section(config, "num_latent_tokens")
    require(said, path, **_AS_PUBLISHED)
    levels = LAYOUT.levels(given)
    tensors, other = LAYOUT.split(given, levels)
    tensors = {name: _as_ours(name, tensor) for name, tensor in tensors.items()}
    model, side = _model(tensors, path)
    codes, dim = (size(given, CODEBOOK, axis, path) for axis in (0, 1))
    tokens = model["tokens"]
    agree(said, {"codebook_size": codes, "codebook_embed_dim": dim, "num_latent_tokens": tokens}, path)
    agree(said, {"z_channels": model["latent_channels"]}, path)
    agree(said, dict.fromkeys(("encoder_ch_mult", "decoder_ch_mult"), model["multipliers"]), path)
    for which in ("encoder", "decoder"):
        agree(said, {f"{which}_size": _size(model[which], said.get(f"{which}_size"))}, path)
    quantizer = {
        "name": "vq",
        "codebook_size": codes,
        "l2_norm": bool(said.get("codebook_l2_norm", True)),
        "codebook_update": "gradient",
        "commitment_weight": float(said.get("commit_loss_beta", 0.25)),
        "entropy_weight": float(said.get("entropy_loss_ratio") or 0.0),
        "rotation_trick": bool(said.get("rot", True)),
    }
    learned = sorted(name for name in other if name.startswith(DISTILLATION))
    ignored = {"monitoring": sorted(other & {USED}), "for the features of another network": learned}
    assumed = "taken to begin its queries as means of parts of the map and to have codes of length 1, as released"
    return TokenizerPlan(
        config=config_of_weights(tensors, side, {**model, "code_channels": dim}, quantizer, path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=LAYOUT,
        ignored={reason: names for reason, names in ignored.items() if names},
        left_over=sorted(other.difference({CODEBOOK}, *ignored.values())),
        notes=[] if said else [assumed],
        levels=levels,
    )


def _as_ours(ours: str, tensor: Tensor) -> Tensor:
    """1x1 convolutions on rows of tokens are linear maps here, and places have no batch."""
    if ours.endswith("places") and tensor.ndim == 3:
        return tensor[:, 0]
    linear = ours.startswith(("encoder.to_latent", "encoder.to_code", "decoder.from_code"))
    return tensor[..., 0, 0] if linear and tensor.ndim == 4 and tensor.shape[2:].numel() == 1 else tensor


def _size(numbers: dict[str, int], said: Any) -> Any:
    """The size that the configuration names, or what the weights have where that is another."""
    named, shown = SIZES.get(str(said)), (numbers["width"], numbers["depth"])
    fits = named is None or (named.width, named.depth) == shown
    return said if fits else f"{shown[0]} wide and {shown[1]} deep"


def _model(tensors: dict[str, Tensor], path: str) -> tuple[dict[str, Any], int]:
    """The model's settings and its images' side, read off the weights."""
    image_channels(tensors, path)
    found = pyramid(tensors, path)
    places = size(tensors, "encoder.reader.memory_places", 0, path)
    transformers = {}
    for side in ("encoder", "decoder"):
        width = size(tensors, f"{side}.reader.embed.weight", 0, path)
        depth = count(tensors, rf"{side}\.reader\.blocks\.(\d+)\.")
        transformers[side] = {"width": width, "depth": depth, "heads": max(1, width // HEAD)}
    model = {
        "architecture": "gigatok",
        **found,
        "latent_channels": size(tensors, "encoder.head.weight", 0, path),
        "tokens": size(tensors, "encoder.reader.places", 0, path),
        **transformers,
    }
    return model, math.isqrt(places) * 2 ** (len(found["multipliers"]) - 1)


register(Importer("gigatok", recognises, read, evaluates="ema"))
