"""RQ-Transformer (kakaobrain/rq-vae-transformer): ``{state_dict, ...}`` and a ``config.yaml``, on an RQ-VAE's codes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.config.condition import TextConfig, TokenizerRef
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.config.grid import plain
from tokbench.errors import TokbenchError
from tokbench.generators.base import Generator
from tokbench.generators.building import build
from tokbench.generators.embedding import code_vectors
from tokbench.models import Tokenizer
from tokbench.models.folder import explain

from .checkpoint import section
from .filling import require_sound
from .importer import GeneratorImporter, GeneratorPlan, register
from .settings import agree, count, require, size, taker


def recognises(names: Collection[str]) -> bool:
    """By the transformer over the depths' sums."""
    return "body_transformer.blocks.0.ln1.weight" in names


def read(
    given: dict[str, Tensor], config: dict[str, Any], tokenizer: Tokenizer, source: str, path: str
) -> GeneratorPlan:
    """A released RQ-Transformer as an ``AR`` on the imported RQ-VAE whose codes it models.

    Its YAML alone knows the number of heads and the code map's sides. Raises TokbenchError for weights that are
    missing, or a configuration or a tokenizer that does not fit them.
    """
    require_sound(given, path)
    arch = section(config, "block_size")
    if not arch:
        raise TokbenchError(f"{path}: the layout needs its config.yaml (arch.block_size, the heads); give it with it")
    text = _text(given, arch, section(config, "txt_weight"), path)
    made = _build(given, arch, text, tokenizer, source, path)
    return GeneratorPlan(made, _translate(given, made, path))


def _text(given: dict[str, Tensor], arch: dict[str, Any], loss: dict[str, Any], path: str) -> TextConfig | None:
    """The text that a model of several tokens is conditioned on. Its tokenizer is not in the checkpoint. The share of
    the text's loss follows from the two weights of the configuration, without which it is the published 0.1."""
    length, vocabulary = size(given, "pos_emb_cond", 1, path), size(given, "cond_emb.weight", 0, path)
    agree(arch, {"block_size_cond": length, "vocab_size_cond": vocabulary}, path)
    if length == 1:
        return None
    text, codes = loss.get("txt_weight", 0.1), loss.get("img_weight", 0.9)
    if not all(isinstance(weight, (int, float)) and weight > 0 for weight in (text, codes)):
        raise TokbenchError(f"{path}: loss.txt_weight {text!r} and img_weight {codes!r} are not numbers above 0")
    return TextConfig(length=length, vocabulary=vocabulary, loss_weight=text / (text + codes))


def _build(
    given: dict[str, Tensor],
    arch: dict[str, Any],
    text: TextConfig | None,
    tokenizer: Tokenizer,
    source: str,
    path: str,
) -> Generator:
    """The generator that the weights need, its settings held against the configuration."""
    height, columns, depth = (int(n) for n in arch["block_size"])
    width = size(given, "classifier.layer_norm.weight", 0, path)
    body = count(given, r"body_transformer\.blocks\.(\d+)\.")
    head = count(given, r"head_transformer\.blocks\.(\d+)\.")
    agree(arch, {"embed_dim": width, "input_embed_dim": _columns(given, "input_mlp.weight")}, path)
    agree(arch.get("body", {}), {"n_layer": body}, path)
    agree(arch.get("head", {}), {"n_layer": head}, path)
    for stack in ("body", "head"):
        block = arch.get(stack, {}).get("block", {})
        require(block, path, attn_bias=True, mlp_bias=True, gelu="v1")
        if "n_head" not in block:
            raise TokbenchError(f"{path}: the configuration does not say arch.{stack}.block.n_head")
    body_codes, head_codes = "input_mlp.weight" in given, "head_mlp.weight" in given
    if body_codes != head_codes:
        raise TokbenchError(f"{path}: code vectors on one of the two inputs and a table on the other: not supported")
    shared_head = given["classifier.linear.weight"].ndim == 2
    codes = size(given, "classifier.linear.weight", 0 if shared_head else 2, path)
    sizes = tuple(int(k) for k in tokenizer.quantizer.subcode_sizes)
    if sizes != (codes,) * depth:
        raise TokbenchError(
            f"{path}: the generator has {depth} codes of a vocabulary of {codes}, the tokenizer {list(sizes)}"
        )
    conditions = size(given, "cond_emb.weight", 0, path)
    classes = conditions if conditions > 1 and text is None else 0
    generator = ARConfig(
        width=width,
        heads=arch["body"]["block"]["n_head"],
        layers=body,
        depth_layers=head,
        depth_heads=arch["head"]["block"]["n_head"],
        input="codes" if body_codes else "learned",
        depth_context="sum" if body_codes and arch.get("cumsum_depth_ctx", False) else "last",
        share_head=shared_head,
        class_conditional=classes > 0,
        class_dropout=0.0,
    )
    tables = code_vectors(tokenizer.quantizer) if body_codes else []
    try:
        config = GeneratorConfig(
            generator=generator,
            shape=(height, columns, depth),
            vocabulary=sizes,
            num_classes=classes,
            conditioned_on=text,
            code_channels=tables[0].shape[1] if tables else None,
            shared_codes=bool(tables) and all(torch.equal(table, tables[0]) for table in tables),
            tokenizer=TokenizerRef(
                source=source,
                sha256=tokenizer.sha256(),
                image_size=plain((height * tokenizer.downsampling, columns * tokenizer.downsampling)),
            ),
        )
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from None
    made = build(config)
    if tables:
        made.set_code_vectors(tables)
    return made


def _translate(given: dict[str, Tensor], made: Generator, path: str) -> dict[str, Tensor]:
    """Their tensors by our names. The bias of the body's input is added once per depth there, once in all here."""
    left = {name: tensor.float() for name, tensor in given.items()}
    take = taker(left, path)

    depth = made.depth
    ours = {
        "condition.weight": take("cond_emb.weight"),
        "position_condition": take("pos_emb_cond")[0].squeeze(0),
        "position": take("pos_emb_hw")[0],
        "position_depth": take("pos_emb_d")[0],
        "norm.weight": take("classifier.layer_norm.weight"),
        "norm.bias": take("classifier.layer_norm.bias"),
    }
    if made.config.conditioned_on is not None:
        for theirs, part in (("layer_norm", "norm"), ("linear", "classifier")):
            for kind in ("weight", "bias"):
                ours[f"condition.{part}.{kind}"] = take(f"cond_classifier.{theirs}.{kind}")
    if made.config.generator.input == "codes":
        ours["embedding.vectors"] = made.embedding.vectors
        ours["embedding.body_in.weight"] = take("input_mlp.weight")
        ours["embedding.body_in.bias"] = take("input_mlp.bias") * depth
        depth_in = {
            "embedding.depth_in.weight": take("head_mlp.weight"),
            "embedding.depth_in.bias": take("head_mlp.bias"),
        }
        ours |= depth_in if depth > 1 else {}  # codes of depth 1 have no depth step that reads a code
    else:
        table = take("tok_emb.weight")
        # A table that the depths share is repeated for each of them.
        ours["embedding.vectors"] = table if len(table) == sum(made.vocabulary) else table.repeat(depth, 1)
        left.pop("tok_emb.offsets", None)
    weight, bias = take("classifier.linear.weight"), take("classifier.linear.bias")
    if weight.ndim == 2:
        ours["classifiers.0.weight"], ours["classifiers.0.bias"] = weight, bias
    else:
        for d, vocabulary in enumerate(made.vocabulary):
            ours[f"classifiers.{d}.weight"] = weight[d, :, :vocabulary].T
            ours[f"classifiers.{d}.bias"] = bias[d, :vocabulary]
    for theirs, stack in (("body_transformer", "body"), ("head_transformer", "head")):
        for i in range(count(given, rf"{theirs}\.blocks\.(\d+)\.")):
            ours |= gpt_block(take, f"{theirs}.blocks.{i}.", f"{stack}.blocks.{i}.")
    if left:
        raise TokbenchError(f"{path}: weights of no known purpose: {', '.join(sorted(left)[:4])}")
    return ours


def gpt_block(take: Any, theirs: str, ours: str) -> dict[str, Tensor]:
    """minGPT's block, which taming and Kakao share: separate query, key and value, one product here."""
    parts = ("query", "key", "value")
    return {
        f"{ours}norm1.weight": take(f"{theirs}ln1.weight"),
        f"{ours}norm1.bias": take(f"{theirs}ln1.bias"),
        f"{ours}attention.qkv.weight": torch.cat([take(f"{theirs}attn.{part}.weight") for part in parts]),
        f"{ours}attention.qkv.bias": torch.cat([take(f"{theirs}attn.{part}.bias") for part in parts]),
        f"{ours}attention.out.weight": take(f"{theirs}attn.proj.weight"),
        f"{ours}attention.out.bias": take(f"{theirs}attn.proj.bias"),
        f"{ours}norm2.weight": take(f"{theirs}ln2.weight"),
        f"{ours}norm2.bias": take(f"{theirs}ln2.bias"),
        f"{ours}mlp.0.weight": take(f"{theirs}mlp.0.weight"),
        f"{ours}mlp.0.bias": take(f"{theirs}mlp.0.bias"),
        f"{ours}mlp.2.weight": take(f"{theirs}mlp.2.weight"),
        f"{ours}mlp.2.bias": take(f"{theirs}mlp.2.bias"),
    }


def _columns(given: dict[str, Tensor], name: str) -> int | None:
    return int(given[name].shape[1]) if name in given else None


register(GeneratorImporter("rq-transformer", recognises, read))
