"""VAR's transformer (FoundationVision/VAR ``models/var.py``): a flat state dict, ``var_d16.pth``.

There is no configuration in it. Heads and widths are 1 and 64 a layer in what was released; a JSON of the constructor's
arguments says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.generators.building import build, configure
from tokbench.generators.condition import ClassCondition
from tokbench.models import Tokenizer
from tokbench.models.folder import explain

from .checkpoint import section
from .filling import require_sound
from .importer import GeneratorImporter, GeneratorPlan
from .settings import agree, count, size, taker

# Buffers that follow from the rest.
_DERIVED = ("lvl_1L", "attn_bias_for_masking")


def recognises(names: Collection[str]) -> bool:
    """By the embedding of the scales."""
    return "lvl_embed.weight" in names and "pos_1LC" in names


def read(given: dict[str, Tensor], config: dict[str, Any], tokenizer: Any, source: str, path: str) -> GeneratorPlan:
    """A released transformer as a ``VAR`` on the imported tokenizer whose codes it models.

    Raises TokbenchError for weights that are missing, or a configuration or a tokenizer that does not fit them.
    """
    from tokbench.config.generator import VARGeneratorConfig

    require_sound({name: tensor for name, tensor in given.items() if name not in _DERIVED}, path)
    said = section(config, "embed_dim")
    width, layers = size(given, "word_embed.weight", 0, path), count(given, r"blocks\.(\d+)\.")
    shared = "shared_ada_lin.1.weight" in given
    qk_norm = "blocks.0.attn.scale_mul_1H11" in given
    classes = size(given, "class_emb.weight", 0, path) - 1
    hidden = size(given, "blocks.0.ffn.fc1.weight", 0, path)
    found = {"num_classes": classes, "depth": layers, "embed_dim": width, "shared_aln": shared, "attn_l2_norm": qk_norm}
    agree(said, {**found, "mlp_ratio": hidden / width, "norm_eps": 1e-6}, path)
    heads = size(given, "blocks.0.attn.scale_mul_1H11", 1, path) if qk_norm else said.get("num_heads", layers)
    agree(said, {"num_heads": heads}, path)
    _check_codes(given, tokenizer, path)
    try:
        settings = VARGeneratorConfig(
            width=width,
            heads=heads,
            layers=layers,
            mlp_ratio=hidden / width,
            condition_by="shared-adaln" if shared else "adaln",
            qk_norm=qk_norm,
            class_conditional=True,
            class_dropout=float(said.get("cond_drop_rate", 0.1)),
        )
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from None
    image_size = tokenizer.config.image_size
    made = build(configure(settings, tokenizer, source=source, image_size=image_size, num_classes=classes))
    made.take_quantizer(tokenizer.quantizer)
    assert isinstance(made.condition, ClassCondition)
    tensors = _translate(given, layers, path) | {
        name: tensor for name, tensor in made.state_dict().items() if name.startswith("quantizer.")
    }
    return GeneratorPlan(made, tensors, ignored={"what follows from the scales": sorted(given.keys() & set(_DERIVED))})


def _check_codes(given: dict[str, Tensor], tokenizer: Tokenizer, path: str) -> None:
    """TokbenchError where the tokenizer's codes are not those that the weights are for."""
    places, codes = size(given, "pos_1LC", 1, path), size(given, "head.weight", 0, path)
    theirs = (*tokenizer.grid(), *tokenizer.quantizer.subcode_sizes)
    if theirs != (places, codes):
        raise TokbenchError(
            f"{path}: a pyramid of {places} codes of a vocabulary of {codes}, the tokenizer's are "
            f"{theirs[0]} codes of {list(theirs[1:])}"
        )
    if (rows := size(given, "lvl_embed.weight", 0, path)) != len(tokenizer.quantizer.prefixes):
        raise TokbenchError(f"{path}: {rows} scales, the tokenizer has {len(tokenizer.quantizer.prefixes)}")


def _translate(given: dict[str, Tensor], layers: int, path: str) -> dict[str, Tensor]:
    """Their tensors by our names."""
    left = {name: tensor for name, tensor in given.items() if name not in _DERIVED}
    take = taker(left, path)

    def linear(theirs: str, ours: str) -> dict[str, Tensor]:
        return {f"{ours}.{kind}": take(f"{theirs}.{kind}") for kind in ("weight", "bias")}

    ours = {
        "start": take("pos_start")[0],
        "position": take("pos_1LC")[0],
        "level": take("lvl_embed.weight"),
        "condition.weight": take("class_emb.weight"),
        **linear("word_embed", "into"),
        **linear("head_nm.ada_lin.1", "head_modulation"),
        **linear("head", "classifiers.0"),
    }
    if "shared_ada_lin.1.weight" in left:
        ours |= linear("shared_ada_lin.1", "shared_modulation")
    for i in range(layers):
        theirs, own = f"blocks.{i}.", f"blocks.{i}."
        ours |= linear(f"{theirs}attn.proj", f"{own}attention.out")
        ours |= linear(f"{theirs}ffn.fc1", f"{own}mlp.0") | linear(f"{theirs}ffn.fc2", f"{own}mlp.2")
        if f"{theirs}ada_gss" in left:
            ours[f"{own}offsets"] = take(f"{theirs}ada_gss")[0, 0]
        else:
            ours |= linear(f"{theirs}ada_lin.1", f"{own}modulation")
        ours |= _attention(take, f"{theirs}attn.", f"{own}attention.", f"{theirs}attn.scale_mul_1H11" in left)
    if left:
        raise TokbenchError(f"{path}: weights that this layout has no place for: {', '.join(sorted(left)[:4])}")
    return ours


def _attention(take: Any, theirs: str, ours: str, qk_norm: bool) -> dict[str, Tensor]:
    """Queries, keys and values as one map. Without unit vectors their softmax has a quarter of the usual scale, which
    goes into the queries."""
    weight = take(f"{theirs}mat_qkv.weight").clone()
    q_bias, k_bias, v_bias = (take(f"{theirs}{name}").clone() for name in ("q_bias", "zero_k_bias", "v_bias"))
    found = {}
    if qk_norm:
        found[f"{ours}log_scale"] = take(f"{theirs}scale_mul_1H11").reshape(-1)
    else:
        weight[: len(q_bias)] *= 0.25
        q_bias *= 0.25
    return {f"{ours}qkv.weight": weight, f"{ours}qkv.bias": torch.cat([q_bias, k_bias, v_bias]), **found}


IMPORTER = GeneratorImporter("var", recognises, read)
