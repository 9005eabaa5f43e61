"""UniTok (FoundationVision/UniTok): a training checkpoint of ``args`` and ``trainer``, and in it a model of images and
texts, of which the side of images is the tokenizer.

The number of attention heads is not in the weights: that of a width of 64 each, as ViTamin has it up to Large. Nor is
whether the attention on either side of the codes is causal, as it was in the file that was published before April 2025.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, count, require, size, taker
from .tokenizer_config import config_of_weights

HEAD = 64  # channels
PLACES = "encoder.pos_embed"  # zeros, and never learned
TEXT = ("text_encoder.", "fc_norm.", "projection.", "logit_scale")
USAGE = ".vocab_usage"
BOOK = "quantizer.codebooks.{}.codebook.weight"
_BLOCK = (("pre_norm", "norm"), ("conv1_1x1", "widen"), ("conv2_kxk", "alone"), ("conv3_1x1", "narrow"))
_HALVE = (*_BLOCK, ("shortcut.expand", "shortcut.1"))
_DOUBLE = (*_BLOCK, ("shortcut.conv", "shortcut.1"), ("up.conv", "up.1"))
_PROJECTION = (("attn.qkv", "qkv"), ("attn.proj", "out"))

LAYOUT = Layout(
    prefixes=(
        *inside("encoder.patch_embed.backbone.stem", "encoder.stem", (("conv1", "0"), ("norm1", "1"), ("conv2", "3"))),
        *inside("encoder.patch_embed.backbone.stages.{i}.{j}", "encoder.levels.{i}.{j}", _HALVE),
        *inside("encoder.patch_embed.backbone.pool", "encoder.pool", (("norm", "0"), ("proj", "1"))),
        ("encoder.blocks.{j}", "encoder.transformer.blocks.{j}"),
        ("encoder.norm", "encoder.transformer.norm"),
        *inside("quant_proj", "encoder.to_code", _PROJECTION),
        ("quant_proj", "encoder.to_code"),
        *inside("post_quant_proj", "decoder.from_code", _PROJECTION),
        ("post_quant_proj", "decoder.from_code"),
        ("decoder.blocks.{j}", "decoder.transformer.blocks.{j}"),
        ("decoder.norm", "decoder.transformer.norm"),
        ("decoder.up_conv1.conv", "decoder.unpool.1"),
        *inside("decoder.up_conv2.{j}", "decoder.levels.0.{j}", _DOUBLE),
        *inside("decoder.up_conv3.{j}", "decoder.levels.1.{j}", _DOUBLE),
        ("decoder.up_conv4.conv1.conv", "decoder.up.1"),
        ("decoder.up_conv4.norm1", "decoder.norm"),
        ("decoder.up_conv4.conv2", "decoder.head"),
    ),
    components=(),
    level=r"$^",
)


def recognises(names: Collection[str]) -> bool:
    """By the attention on both sides of codebooks in groups."""
    return {"quant_proj.attn.qkv.weight", "post_quant_proj.attn.qkv.weight", BOOK.format(0)} <= set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and, where there are any, the training's arguments (``model``, ``vocab_size`` ...)."""
    said = section(config, "num_codebooks") or section(config, "vocab_size")
    require(said, path, num_query=0, quant_proj="attn")
    official = _joined(dict(given), path)
    groups = count(official, r"quantizer\.codebooks\.(\d+)\.")
    take = taker(official, path)
    books = [take(BOOK.format(i)) for i in range(groups)]
    if len({book.shape for book in books}) > 1:
        raise TokbenchError(f"{path}: codebooks of several shapes: {', '.join(str(list(b.shape)) for b in books[:4])}")
    tensors, other = LAYOUT.split(official, 0)
    model = _model(tensors, path)
    shown = {"num_codebooks": groups, "vocab_size": len(books[0]) * groups, "vocab_width": model["code_channels"]}
    agree(said, shown, path)
    if PLACES in other and bool(given[PLACES].any()):
        raise TokbenchError(f"{path}: {PLACES} is not zero, as UniTok's is: another model")
    side = int(said.get("img_size") or 256)
    ignored = {
        "text and its side of CLIP": sorted(name for name in other if name.startswith(TEXT)),
        "a place that is zero": sorted(other & {PLACES}),
        "monitoring": sorted(name for name in other if name.endswith(USAGE)),
    }
    quantizer = {
        "name": "mcq",
        "codebook_size": len(books[0]),
        "groups": groups,
        "commitment_weight": float(said.get("vq_beta", 0.25)),
        "entropy_weight": float(said.get("le") or 0.0),
        "entropy_temperature": float(said.get("e_temp") or 0.01),
    }
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer, path, 3),
        tensors=tensors,
        codebook={"codebook": torch.stack(books)},
        layout=LAYOUT,
        ignored={reason: names for reason, names in ignored.items() if names},
        left_over=sorted(other.difference(*ignored.values())),
        notes=[f"taken to have {model['heads']} heads: the weights do not show it"],
        levels=0,
    )


def _joined(official: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    """The biases of queries and values as one with that of the keys, which is zero and not learned."""
    take = taker(official, path)
    for side in ("quant_proj", "post_quant_proj"):
        parts = [take(f"{side}.attn.{part}") for part in ("q_bias", "zero_k_bias", "v_bias")]
        official[f"{side}.attn.qkv.bias"] = torch.cat(parts)
    return official


def _model(tensors: dict[str, Tensor], path: str) -> dict[str, Any]:
    """The model's settings, read off the weights."""
    width = size(tensors, "encoder.pool.1.weight", 0, path)
    codes = size(tensors, "encoder.to_code.proj.weight", 0, path)
    if width % codes:
        raise TokbenchError(
            f"{path}: {codes} channels of codes do not divide the width {width}: not UniTok's attention"
        )
    return {
        "architecture": "unitok",
        "channels": [size(tensors, f"encoder.levels.{i}.0.narrow.weight", 0, path) for i in (0, 1)],
        "blocks": [count(tensors, rf"encoder\.levels\.{i}\.(\d+)\.") for i in (0, 1)],
        "width": width,
        "depth": count(tensors, r"encoder\.transformer\.blocks\.(\d+)\."),
        "heads": max(1, width // HEAD),
        "mlp_ratio": size(tensors, "encoder.transformer.blocks.0.mlp.w0.weight", 0, path) / width,
        "code_heads": width // codes,
        "code_channels": codes,
    }


register(Importer("unitok", recognises, read, evaluates="live"))
