"""VQ-GAN's GPT (CompVis/taming-transformers, ``Net2NetTransformer``): class-conditional or unconditional.

The checkpoint holds ``transformer.*`` (minGPT) beside the VQ-GAN as ``first_stage_model.*``. Class ids and codes share
one table there, and so do the positions of both.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.config.condition import TokenizerRef
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators.base import Generator
from tokbench.generators.building import build
from tokbench.models import Tokenizer
from tokbench.models.folder import explain

from .checkpoint import section
from .filling import require_sound
from .importer import GeneratorImporter, GeneratorPlan, register
from .rq_transformer import gpt_block
from .settings import agree, count, size

PREFIX = "transformer."


def recognises(names: Collection[str]) -> bool:
    """By the table of classes and codes."""
    return PREFIX + "tok_emb.weight" in names


def read(
    everything: dict[str, Tensor], config: dict[str, Any], tokenizer: Tokenizer, source: str, path: str
) -> GeneratorPlan:
    """A released GPT as an ``AR`` without depth layers on the imported VQ-GAN, of images of that one's size.

    Its YAML alone knows the number of heads and how the model is conditioned. Raises TokbenchError for weights that
    are missing, a configuration or tokenizer that does not fit, or a model conditioned on something else than a class.
    """
    given = {name.removeprefix(PREFIX): t.float() for name, t in everything.items() if name.startswith(PREFIX)}
    require_sound(given, path)
    other = sorted(name for name in everything if not name.startswith(PREFIX))
    params = section(config, "transformer_config")
    gpt = params.get("transformer_config", {}).get("params", {})
    if "n_head" not in gpt:
        raise TokbenchError(f"{path}: the layout needs its YAML (transformer_config.params.n_head); give it with it")
    if gpt.get("n_unmasked", 0):
        raise TokbenchError(f"{path}: n_unmasked {gpt['n_unmasked']}: a condition that is read whole is not supported")
    made, sos = _build(given, params, gpt, tokenizer, source, path)
    ignored = {"not of the transformer": other} if other else {}
    return GeneratorPlan(made, _translate(given, made, sos, path), ignored)


def _build(
    given: dict[str, Tensor],
    params: dict[str, Any],
    gpt: dict[str, Any],
    tokenizer: Tokenizer,
    source: str,
    path: str,
) -> tuple[Generator, int]:
    """The generator, and the row of the table that starts a sequence where there are no classes."""
    width, vocabulary = size(given, "tok_emb.weight", 1, path), size(given, "tok_emb.weight", 0, path)
    layers = count(given, r"blocks\.(\d+)\.")
    agree(gpt, {"n_layer": layers, "n_embd": width, "vocab_size": vocabulary}, path)
    sizes = tuple(int(k) for k in tokenizer.quantizer.subcode_sizes)
    if sizes != (vocabulary,):
        raise TokbenchError(f"{path}: a vocabulary of {vocabulary}, the tokenizer's are {list(sizes)}")
    condition = params.get("cond_stage_config")
    classes = 0
    if not (params.get("unconditional") or condition == "__is_unconditional__"):
        wanted = condition.get("params", {}).get("n_classes") if isinstance(condition, dict) else None
        target = str(condition.get("target", "")) if isinstance(condition, dict) else str(condition)
        if not target.endswith("Labelator") or not wanted:
            raise TokbenchError(f"{path}: conditioned on {target or 'something else'}; only classes are supported")
        classes = int(wanted)
    side = tokenizer.config.image_size
    grid = tokenizer.grid(side)
    if size(given, "pos_emb", 1, path) < math.prod(grid):
        shown = "x".join(map(str, grid))
        raise TokbenchError(f"{path}: positions for {given['pos_emb'].shape[1]} codes, not {shown}")
    try:
        config = GeneratorConfig(
            generator=ARConfig(
                width=width,
                heads=gpt["n_head"],
                layers=layers,
                depth_layers=0,
                input="learned",
                class_conditional=classes > 0,
                class_dropout=0.0,
            ),
            shape=(*grid, 1),
            vocabulary=sizes,
            num_classes=classes,
            tokenizer=TokenizerRef(source=source, sha256=tokenizer.sha256(), image_size=side),
        )
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from None
    return build(config), int(params.get("sos_token", 0))


def _translate(given: dict[str, Tensor], made: Generator, sos: int, path: str) -> dict[str, Tensor]:
    """Their tensors by our names. Inputs are the condition and all codes but the last, so the last position's row, if
    there is none, is never read."""
    left = {name: tensor for name, tensor in given.items() if not name.endswith("attn.mask")}

    def take(name: str) -> Tensor:
        if name not in left:
            raise TokbenchError(f"{path}: the checkpoint has no weight for {PREFIX}{name}")
        return left.pop(name)

    table, positions, head = take("tok_emb.weight"), take("pos_emb")[0], take("head.weight")
    codes, places = made.vocabulary[0], made.places
    position = torch.zeros(places, positions.shape[1])
    seen = positions[1 : places + 1]
    position[: len(seen)] = seen
    ours = {
        "condition.weight": table[:classes] if (classes := made.config.num_classes) else table[sos : sos + 1],
        "position_condition": positions[0],
        "position": position,
        "embedding.vectors": table[:codes],
        "norm.weight": take("ln_f.weight"),
        "norm.bias": take("ln_f.bias"),
        "classifiers.0.weight": head[:codes],
        "classifiers.0.bias": torch.zeros(codes),
    }
    for i in range(count(given, r"blocks\.(\d+)\.")):
        ours |= gpt_block(take, f"blocks.{i}.", f"body.blocks.{i}.")
    if left:
        raise TokbenchError(f"{path}: weights of no known purpose: {', '.join(sorted(left)[:4])}")
    return ours


register(GeneratorImporter("taming-gpt", recognises, read))
