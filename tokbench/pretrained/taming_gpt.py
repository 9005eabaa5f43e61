"""VQ-GAN's GPT (CompVis/taming-transformers, ``Net2NetTransformer``): unconditional, or given classes, the codes of
another VQ-GAN (depth, segmentation) or coordinates.

The checkpoint holds ``transformer.*`` (minGPT) beside the VQ-GAN as ``first_stage_model.*`` and the condition's as
``cond_stage_model.*``. Conditions and codes share one table there, and so do the positions of both; here each has a
table of its own, so a generator that was trained on has no way back into that layout.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.config.condition import CodesConfig, Partner, TokenizerRef
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.config.generator_model import Order
from tokbench.errors import TokbenchError, did_you_mean, size_text
from tokbench.generators.base import Generator
from tokbench.generators.building import CONDITION_TOKENIZER, build
from tokbench.generators.orders import order_of
from tokbench.models import Tokenizer
from tokbench.models.folder import explain

from .checkpoint import section
from .filling import require_sound
from .importer import GeneratorImporter, GeneratorPlan, register
from .rq_transformer import gpt_block
from .settings import agree, count, size, taker
from .stages import tokenizer_in
from .taming import LABELS

PREFIX, FIRST_STAGE, CONDITION_STAGE = "transformer.", "first_stage_model.", "cond_stage_model."
PERMUTER = "permuter."
ORDERS: dict[str, Order] = {
    "Identity": "raster",
    "AlternateParsing": "alternate",
    "Random": "random",
    "SpiralIn": "spiral-in",
    "SpiralOut": "spiral-out",
    "Subsample": "subsample",
    "ZCurve": "z-curve",
}


def recognises(names: Collection[str]) -> bool:
    """By the table of classes and codes."""
    return PREFIX + "tok_emb.weight" in names


def read(
    everything: dict[str, Tensor], config: dict[str, Any], tokenizer: Tokenizer, source: str, path: str
) -> GeneratorPlan:
    """A released GPT as an ``AR`` without depth layers on the imported VQ-GAN, of images of that one's size.

    Its YAML alone knows the number of heads and how the model is conditioned. Raises TokbenchError for weights that
    are missing, a configuration or tokenizer that does not fit, or a condition or an order that is not known.
    """
    given = {name.removeprefix(PREFIX): t.float() for name, t in everything.items() if name.startswith(PREFIX)}
    require_sound(given, path)
    other = sorted(name for name in everything if not name.startswith(PREFIX))
    params = section(config, "transformer_config")
    gpt = params.get("transformer_config", {}).get("params", {})
    if "n_head" not in gpt:
        raise TokbenchError(f"{path}: the layout needs its YAML (transformer_config.params.n_head); give it with it")
    before = _condition(everything, params, tokenizer, path)
    before = _read_whole(before, gpt.get("n_unmasked", 0), path)
    order = _order(everything, params, tokenizer, path)
    made, sos = _build(given, params, gpt, tokenizer, before, order, source, path)
    used = (FIRST_STAGE, CONDITION_STAGE, PERMUTER)
    stages = [name for name in other if name.startswith(used)]
    rest = [name for name in other if not name.startswith(used)]
    ignored = {"of the tokenizers": stages, "not of the transformer": rest}
    return GeneratorPlan(made, _translate(given, made, sos, path), ignored, before.tokenizer)


def first_stage(everything: dict[str, Tensor], config: dict[str, Any], path: str) -> Tokenizer | None:
    """The VQ-GAN whose codes are modelled; None where the file has the transformer alone."""
    settings = section(config, "first_stage_config").get("first_stage_config")
    return tokenizer_in(everything, FIRST_STAGE, settings, path)


class _Before(NamedTuple):
    """What stands before the codes: classes, codes, or neither; and the tokenizer of the codes."""

    classes: int = 0
    codes: CodesConfig | None = None
    tokenizer: Tokenizer | None = None


def _condition(everything: dict[str, Tensor], params: dict[str, Any], tokenizer: Tokenizer, path: str) -> _Before:
    """What ``cond_stage_config`` says of it. TokbenchError for a condition that is not known."""
    stage = params.get("cond_stage_config")
    if params.get("unconditional") or params.get("be_unconditional") or stage == "__is_unconditional__":
        return _Before()
    if params.get("downsample_cond_size", -1) > -1:
        raise TokbenchError(f"{path}: downsample_cond_size {params['downsample_cond_size']} is not supported")
    target = str(stage.get("target", "")) if isinstance(stage, dict) else str(stage)
    said = stage.get("params", {}) if isinstance(stage, dict) else {}
    side = tokenizer.config.image_size
    if target.endswith("Labelator") and said.get("n_classes"):
        return _Before(classes=int(said["n_classes"]))
    if target.endswith("CoordStage"):
        grid, codes, factor = tokenizer.grid(side), int(said["n_embed"]), int(said["down_factor"])
        if factor != tokenizer.downsampling:
            raise TokbenchError(f"{path}: coordinates by {factor} pixels, the codes by {tokenizer.downsampling}")
        return _Before(codes=CodesConfig(shape=(*grid, 1), vocabulary=(codes,), downsampling=factor))
    same = stage == "__is_first_stage__"
    other = tokenizer if same else tokenizer_in(everything, CONDITION_STAGE, stage, path)
    if other is None:
        raise TokbenchError(f"{path}: conditioned on {target or 'something else'}, of which it has no weights")
    reference = TokenizerRef(source=CONDITION_TOKENIZER, sha256=other.sha256(), image_size=side)
    partner: Partner = "depth" if other.config.channels == 1 else "images"
    partner = "masks" if target.endswith(LABELS) else partner
    sizes = tuple(int(k) for k in other.quantizer.subcode_sizes)
    return _Before(
        codes=CodesConfig(
            shape=(*other.grid(side), len(sizes)), vocabulary=sizes, partner=partner, tokenizer=reference
        ),
        tokenizer=other,
    )


def _order(everything: dict[str, Tensor], params: dict[str, Any], tokenizer: Tokenizer, path: str) -> Order:
    """What ``permuter_config`` says, held against the table in the file. TokbenchError for another order."""
    target = str((params.get("permuter_config") or {}).get("target", "Identity"))
    name = target.rpartition(".")[2]
    if name not in ORDERS:
        raise TokbenchError(f"{path}: permuter_config {target}: an order that is not known{did_you_mean(name, ORDERS)}")
    table = everything.get(f"{PERMUTER}forward_shuffle_idx")
    if table is not None and not torch.equal(table.long(), order_of(ORDERS[name], tokenizer.grid())):
        raise TokbenchError(f"{path}: {PERMUTER}forward_shuffle_idx is not the order that {name} stands for")
    return ORDERS[name]


def _read_whole(before: _Before, places: Any, path: str) -> _Before:
    """What ``n_unmasked`` says: so many places, from the first on, see each other."""
    if not places:
        return before
    if before.codes is None or places != before.codes.places:
        condition = f"{before.codes.places} places" if before.codes else "no map"
        raise TokbenchError(
            f"{path}: n_unmasked {places}: only a condition that is read in both directions as a whole is supported, "
            f"and it has {condition}"
        )
    return before._replace(codes=before.codes.model_copy(update={"read": "both"}))


def _build(
    given: dict[str, Tensor],
    params: dict[str, Any],
    gpt: dict[str, Any],
    tokenizer: Tokenizer,
    before: _Before,
    order: Order,
    source: str,
    path: str,
) -> tuple[Generator, int]:
    """The generator, and the row of the table that starts a sequence where there is no condition."""
    width, vocabulary = size(given, "tok_emb.weight", 1, path), size(given, "tok_emb.weight", 0, path)
    layers = count(given, r"blocks\.(\d+)\.")
    agree(gpt, {"n_layer": layers, "n_embd": width, "vocab_size": vocabulary}, path)
    sizes = tuple(int(k) for k in tokenizer.quantizer.subcode_sizes)
    if sizes != (vocabulary,):
        raise TokbenchError(f"{path}: a vocabulary of {vocabulary}, the tokenizer's are {list(sizes)}")
    if before.codes and sum(before.codes.vocabulary) > vocabulary:
        raise TokbenchError(f"{path}: {sum(before.codes.vocabulary)} codes of the condition, {vocabulary} in the table")
    side = tokenizer.config.image_size
    grid = tokenizer.grid(side)
    places = math.prod(grid) + (before.codes.places if before.codes else 1) - 1
    if size(given, "pos_emb", 1, path) < places:
        raise TokbenchError(f"{path}: positions for {given['pos_emb'].shape[1]} codes, not {size_text(grid)}")
    try:
        config = GeneratorConfig(
            generator=ARConfig(
                width=width,
                heads=gpt["n_head"],
                layers=layers,
                depth_layers=0,
                input="learned",
                class_conditional=before.classes > 0,
                class_dropout=0.0,
                order=order,
            ),
            shape=(*grid, 1),
            vocabulary=sizes,
            num_classes=before.classes,
            conditioned_on=before.codes,
            tokenizer=TokenizerRef(source=source, sha256=tokenizer.sha256(), image_size=side),
        )
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from None
    return build(config), int(params.get("sos_token", 0))


def _translate(given: dict[str, Tensor], made: Generator, sos: int, path: str) -> dict[str, Tensor]:
    """Their tensors by our names. Inputs are the condition and all codes but the last, so the last position's row, if
    there is none, is never read."""
    left = {name: tensor for name, tensor in given.items() if not name.endswith("attn.mask")}
    take = taker(left, path, PREFIX)

    table, positions, head = take("tok_emb.weight"), take("pos_emb")[0], take("head.weight")
    codes, places, before = made.vocabulary[0], made.places, made.condition.config
    first = before.places
    if isinstance(before, CodesConfig):
        rows = table[: sum(before.vocabulary)]
    else:
        rows = table[:classes] if (classes := made.config.num_classes) else table[sos : sos + 1]
    position = torch.zeros(places, positions.shape[1])
    seen = positions[first : first + places]
    position[: len(seen)] = seen
    ours = {
        "condition.weight": rows,
        "position_condition": positions[:first].squeeze(0),
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


register(GeneratorImporter("taming-gpt", recognises, read, first_stage))
