"""PixelSNAIL of VQ-VAE-2 (rosinality/vq-vae-2-pytorch, ``pixelsnail.py``): ``{model, args}``, on codes of depth 1.

All settings show in the weights but one: a condition is a code map of half the sides and of the same vocabulary, as the
official code has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tokbench.config.condition import CodesConfig, TokenizerRef
from tokbench.config.generator import GeneratorConfig, PixelSNAILConfig
from tokbench.errors import TokbenchError, size_text
from tokbench.generators.base import Generator
from tokbench.generators.building import build
from tokbench.models import Tokenizer
from tokbench.models.folder import explain

from .filling import require_sound
from .importer import GeneratorImporter, GeneratorPlan, register
from .settings import agree, count, size

WEIGHT = ".weight_v"
FIRST = "horizontal.conv.conv" + WEIGHT

# Their name of a convolution -> ours.
_NAMES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"horizontal\.conv\.conv", "above"),
    (r"vertical\.conv\.conv", "left"),
    (r"(blocks\.\d+)\.resblocks\.(\d+)\.conv1\.conv\.conv", r"\1.layers.\2.first"),
    (r"(blocks\.\d+)\.resblocks\.(\d+)\.conv2\.conv\.conv", r"\1.layers.\2.second"),
    (r"(blocks\.\d+)\.resblocks\.(\d+)\.condition\.conv", r"\1.layers.\2.condition"),
    (r"(blocks\.\d+)\.(key|query|out)_resblock\.conv1\.conv", r"\1.\2.first"),
    (r"(blocks\.\d+)\.(key|query|out)_resblock\.conv2\.conv", r"\1.\2.second"),
    (r"(blocks\.\d+)\.out_resblock\.aux_conv\.conv", r"\1.out.side"),
    (r"(blocks\.\d+)\.causal_attention\.(query|key|value)", r"\1.attend.\2"),
    (r"(blocks\.\d+)\.out\.conv", r"\1.out_conv"),
    (r"out\.(\d+)\.conv1\.conv", r"out.\1.first"),
    (r"out\.(\d+)\.conv2\.conv", r"out.\1.second"),
    (r"out\.\d+\.conv", "heads.0"),
    (r"cond_resnet\.blocks\.0\.conv", "condition_map.first"),
    (r"cond_resnet\.blocks\.(\d+)\.conv1\.conv", lambda m: f"condition_map.layers.{int(m[1]) - 1}.first"),
    (r"cond_resnet\.blocks\.(\d+)\.conv2\.conv", lambda m: f"condition_map.layers.{int(m[1]) - 1}.second"),
]


def recognises(names: Collection[str]) -> bool:
    """By the two first convolutions, of the rows above and of the own row."""
    return FIRST in names and "vertical.conv.conv" + WEIGHT in names


def read(
    given: dict[str, Tensor], config: dict[str, Any], tokenizer: Tokenizer | None, source: str, path: str
) -> GeneratorPlan:
    """A PixelSNAIL, with or without the tokenizer whose codes it models.

    Raises TokbenchError for weights that are missing, or a configuration or a tokenizer that does not fit them.
    """
    require_sound(given, path)
    made = _build(given, config, tokenizer, source, path)
    ignored = {"recomputed": ["background"]}
    return GeneratorPlan(made, _translate(given, made, path), ignored)


def _build(
    given: dict[str, Tensor], said: dict[str, Any], tokenizer: Tokenizer | None, source: str, path: str
) -> Generator:
    width, codes, kernel = (size(given, FIRST, axis, path) for axis in (0, 1, 3))
    grid = size(given, "background", 2, path), size(given, "background", 3, path)
    hidden = size(given, "blocks.0.resblocks.0.conv1.conv.conv" + WEIGHT, 0, path)
    blocks, layers = count(given, r"blocks\.(\d+)\."), count(given, r"blocks\.0\.resblocks\.(\d+)\.")
    found = {"H": grid[0], "W": grid[1], "n_class": codes, "channel": width, "kernel": kernel, "n_block": blocks}
    agree(said, {**found, "n_res_block": layers, "res_channel": hidden}, path)
    reference = None
    if tokenizer is not None:
        reference = _reference(tokenizer, (*grid, 1), codes, source, path)
    more: dict[str, Any] = {}
    condition = None
    if "cond_resnet.blocks.0.conv" + WEIGHT in given:  # the codes of VQ-VAE-2's upper level
        if grid[0] % 2 or grid[1] % 2:
            raise TokbenchError(f"{path}: a condition at half of {size_text(grid)} codes: the sides must be even")
        more = {
            "condition_layers": count(given, r"cond_resnet\.blocks\.(\d+)\.") - 1,
            "condition_hidden": size(given, "cond_resnet.blocks.0.conv" + WEIGHT, 0, path),
            "condition_width": codes,
        }
        condition = CodesConfig(shape=(grid[0] // 2, grid[1] // 2, 1), vocabulary=(codes,))
    try:
        return build(
            GeneratorConfig(
                generator=PixelSNAILConfig(
                    width=width,
                    hidden=hidden,
                    kernel=kernel,
                    blocks=blocks,
                    layers=layers,
                    attention="blocks.0.causal_attention.query" + WEIGHT in given,
                    out_layers=len({name.split(".")[1] for name in given if re.match(r"out\.\d+\.conv1\.", name)}),
                    class_dropout=0.0,
                    **more,
                ),
                shape=(*grid, 1),
                vocabulary=(codes,),
                conditioned_on=condition,
                tokenizer=reference,
            )
        )
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from None


def _reference(tokenizer: Tokenizer, shape: tuple[int, ...], codes: int, source: str, path: str) -> TokenizerRef:
    side, sizes = tokenizer.config.image_size, tuple(int(k) for k in tokenizer.quantizer.subcode_sizes)
    theirs = (*tokenizer.grid(side), len(sizes))
    if theirs != shape or sizes != (codes,):
        raise TokbenchError(
            f"{path}: models {size_text(shape)} codes of {codes}, the tokenizer's are {size_text(theirs)} of "
            f"{', '.join(map(str, sizes))}"
        )
    return TokenizerRef(source=source, sha256=tokenizer.sha256(), image_size=side)


def _translate(given: dict[str, Tensor], made: Generator, path: str) -> dict[str, Tensor]:
    """Their tensors by our names; what stands for a condition's codes is a channel for each."""
    rows, width = made.condition.get_parameter("weight").shape
    ours: dict[str, Tensor] = {"condition.weight": torch.eye(rows) if rows == width else torch.zeros(rows, width)}
    unknown = []
    for name, tensor in given.items():
        conv, _, part = name.rpartition(".")
        plain = next((re.sub(old, new, conv) for old, new in _NAMES if re.fullmatch(old, conv)), None)
        if plain is None:
            unknown += [name] if name != "background" else []
        elif part == "weight_v":
            ours[f"{plain}.direction"] = tensor.float() if tensor.dim() == 4 else tensor.float()[:, :, None, None]
        else:
            ours[f"{plain}.{'scale' if part == 'weight_g' else part}"] = tensor.float().flatten()
    if unknown:
        raise TokbenchError(f"{path}: weights of no known purpose: {', '.join(sorted(unknown)[:4])}")
    return ours


register(GeneratorImporter("pixelsnail", recognises, read, alone=True))
