"""BSQ-ViT (zhaoyue-zephyrus/bsq-vit ``VITBSQModel``): live and EMA weights of images in [-1, 1], and an OmegaConf YAML.

The number of attention heads is not in the weights: that of a width of 64 each, as released, unless the YAML says.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, count, require, size
from .titok import BLOCK
from .tokenizer_config import config_of_weights

BITS = ("quantize.basis", "quantize.group_basis")  # constants of the quantizer
HEAD = 64  # channels
WEIGHT, TEMPERATURE = 0.1, 0.01  # of the released models' entropies


def _side(side: str) -> tuple[tuple[str, str], ...]:
    """What the encoder and the decoder have both."""
    return (
        *inside(f"{side}.transformer.resblocks.{{j}}", f"{side}.transformer.blocks.{{j}}", BLOCK),
        (f"{side}.positional_embedding", f"{side}.transformer.positions.grid"),
        (f"{side}.ln_pre", f"{side}.transformer.norm_in"),
        (f"{side}.ln_post", f"{side}.transformer.norm"),
    )


LAYOUT = Layout(
    prefixes=(
        *_side("encoder"),
        *_side("decoder"),
        ("encoder.conv1", "encoder.patches"),
        ("quant_embed", "encoder.to_code"),
        ("post_quant_embed", "decoder.from_code"),
        ("decoder.ffn", "decoder.head"),
        ("decoder.conv_out", "decoder.pixels"),
    ),
    components=(),
    level=r"$^",
)


def recognises(names: Collection[str]) -> bool:
    """By the linear maps around the codes beside bits that have no weights."""
    return {"quant_embed.weight", "post_quant_embed.weight", BITS[0], "encoder.conv1.weight"} <= set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the YAML (``model.params``)."""
    said, vit = section(config, "embed_dim"), section(config, "patch_size")
    require(said, path, l2_norm=True, post_q_l2_norm=True, logit_laplace=False)
    require(said, path, dvitconfig=None)
    require(vit, path, num_frames=1, mask_type="none", ls_init_value=None, ln_pre=True, ln_post=True)
    if said and not section(config, "zero_mean").get("zero_mean", True):
        raise TokbenchError(f"{path}: zero_mean false: a model of images in [0, 1] is not supported")
    width, bits = size(given, "encoder.conv1.weight", 0, path), size(given, "quant_embed.weight", 0, path)
    patch = math.isqrt(size(given, "encoder.conv1.weight", 1, path) // 3)
    places = math.isqrt(size(given, "encoder.positional_embedding", 0, path))
    hidden = size(given, "encoder.transformer.resblocks.0.mlp.c_fc.weight", 0, path)
    heads = int(vit.get("heads") or max(1, width // HEAD))
    model = {
        "architecture": "bsq-vit",
        "patch_size": patch,
        "width": width,
        "heads": heads,
        "depth": count(given, r"encoder\.transformer\.resblocks\.(\d+)\."),
        "decoder_depth": count(given, r"decoder\.transformer\.resblocks\.(\d+)\."),
        "mlp_ratio": hidden / width,
        "head_width": size(given, "decoder.ffn.0.weight", 0, path) if "decoder.ffn.0.weight" in given else 0,
    }
    shown = {"patch_size": patch, "width": width, "layers": model["depth"], "image_size": places * patch}
    agree(vit, shown, path)
    groups = {"embed_group_size": size(given, BITS[1], 0, path)} if BITS[1] in given else {}
    agree(said, {"embed_dim": bits, **groups}, path)
    tensors, other = LAYOUT.split(given, 0)
    for name, tensor in tensors.items():
        if name == "encoder.patches.weight":
            tensors[name] = tensor.unflatten(1, (-1, patch, patch))
        elif name.endswith("positions.grid"):
            tensors[name] = tensor.T.unflatten(1, (-1, places))[None]
    return TokenizerPlan(
        config=config_of_weights(tensors, places * patch, model, _quantizer(said | groups, bits, path), path, 3),
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={"values of the bits": sorted(other & set(BITS))},
        left_over=sorted(other - set(BITS)),
        notes=[] if vit else [f"taken to have {heads} heads: the weights do not show it"],
        levels=0,
    )


def _quantizer(said: dict[str, Any], bits: int, path: str) -> dict[str, Any]:
    weights = {"zeta": WEIGHT, "gamma0": 1.0, "gamma": 1.0} | {k: v for k, v in said.items() if v is not None}
    weight, sample, batch = (float(weights[key]) for key in ("zeta", "gamma0", "gamma"))
    if not sample:
        raise TokbenchError(f"{path}: gamma0 0 is not supported")
    group = int(said.get("embed_group_size") or 0)  # bits whose entropy is taken together; unsaid: nines
    if group and bits % group:
        raise TokbenchError(f"{path}: embed_group_size {group} does not divide {bits} bits")
    return {
        "name": "bsq",
        "bits": bits,
        "temperature": 1 / float(said.get("inv_temperature") or 1 / TEMPERATURE),
        "entropy_weight": weight * sample,
        "diversity_weight": batch / sample,
        "commitment_weight": float(said.get("beta") or 0.0),
        **({"entropy_groups": [group] * (bits // group)} if group else {}),
    }


register(Importer("bsq-vit", recognises, read, evaluates="ema", classes=("VITBSQModel",)))
