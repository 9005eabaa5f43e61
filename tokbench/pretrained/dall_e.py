"""DALL-E's discrete VAE (openai/DALL-E): ``encoder.pkl`` with ``decoder.pkl`` beside it, both whole pickled modules.

No configuration is published, and none is needed. Of the decoder's channels the first half are the image's; the others,
the widths of its likelihood, say nothing about images and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import read_checkpoint
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, count, size
from .tokenizer_config import config_of_weights
from .weight_sets import Contents

SIDES = ("encoder", "decoder")
SIDE = 256  # of the images that it was made for
MARK, LOGITS = "blocks.input.w", "blocks.output.conv.w"
_FILE = re.compile(r"(?:(encoder|decoder)(?:\.(?:pkl|pt|pth|bin|ckpt|safetensors))?\.)?(?=blocks\.)")


def recognises(names: Collection[str]) -> bool:
    """By the weights ``w`` of the groups' blocks: of both networks, or of one that stands alone."""
    found: dict[str, set[str]] = {}
    for name in names:
        if match := _FILE.match(name):
            found.setdefault(match[1] or "", set()).add(name[match.end() :])
    wanted = {MARK, LOGITS, "blocks.group_1.block_1.res_path.conv_1.w"}
    return wanted <= found.get("", set()) or all(wanted <= found.get(side, set()) for side in SIDES)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights of both networks, in one file or in two that lie beside each other."""
    official = _both(given, path)
    groups, blocks = (
        count(official, pattern) - 1
        for pattern in (r"encoder\.blocks\.group_(\d+)\.", r"encoder\.blocks\.group_1\.block_(\d+)\.")
    )
    if groups * blocks > len(official):
        raise TokbenchError(f"{path}: names of {groups} groups of {blocks} blocks, and {len(official)} weights in all")
    layout = _layout(groups, blocks)
    tensors, other = layout.split(official, groups)
    model, codes, channels = _model(tensors, groups, blocks, path)
    agree(config, {"vocab_size": codes, "n_hid": model["channels"], "n_blk_per_group": blocks}, path)
    for part in ("weight", "bias"):
        tensors[f"decoder.head.{part}"] = tensors[f"decoder.head.{part}"][:channels]
    quantizer = {
        "name": "gumbel",
        "codebook_size": codes,
        "one_hot": True,
        "straight_through": False,
        "temperature_steps": 0,  # these weights are past it
    }
    return TokenizerPlan(
        config=config_of_weights(tensors, SIDE, {**model, "code_channels": codes}, quantizer, path, channels),
        tensors=tensors,
        codebook={},
        layout=layout,
        left_over=sorted(other),
        notes=["of the decoder's output the image alone: the widths of its likelihood are left out"],
    )


def _both(given: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    """The weights of both networks as ``encoder.NAME`` and ``decoder.NAME``."""
    found: dict[str, Tensor] = {}
    for name, tensor in given.items():
        side = (match := _FILE.match(name)) and match[1]
        if match and not side:
            side = _side(given, path)
        found[f"{side}.{name[match.end() :]}" if match else name] = tensor
    here = {side for side in SIDES if f"{side}.{MARK}" in found}
    if missing := next((side for side in SIDES if side not in here), None):
        found |= {f"{missing}.{name}": tensor for name, tensor in _beside(missing, path).items()}
    return found


def _side(given: dict[str, Tensor], path: str) -> str:
    """Which of the two networks a file of one is: the encoder begins with a 7x7 convolution, the decoder with a 1x1."""
    return SIDES[0] if size(given, MARK, -1, path) > 1 else SIDES[1]


def _beside(side: str, path: str) -> dict[str, Tensor]:
    """The other network's weights, out of the file beside."""
    other = Path(path).with_name(f"{side}{Path(path).suffix}")
    if Path(path).is_dir() or not other.is_file():
        raise TokbenchError(f"{path}: DALL-E's networks are two files: put {side}.pkl beside the other one")
    found = next(iter(Contents(read_checkpoint(other), str(other)).sets(recognises)), None)
    if found is None or _side(found.tensors, str(other)) != side:
        raise TokbenchError(f"{other}: not DALL-E's {side}")
    return found.tensors


def _layout(groups: int, blocks: int) -> Layout:
    """Official groups, blocks and convolutions are counted from one."""
    inner = [
        (f"{side}.blocks.group_{i + 1}.block_{j + 1}.{theirs}", f"{side}.levels.{i}.{j}.{ours}")
        for side in SIDES
        for i in range(groups)
        for j in range(blocks)
        for theirs, ours in [("id_path", "shortcut"), *((f"res_path.conv_{k + 1}", f"convs.{k}") for k in range(4))]
    ]
    ends = [
        ("encoder.blocks.input", "encoder.stem"),
        ("encoder.blocks.output.conv", "encoder.to_code"),
        ("decoder.blocks.input", "decoder.from_code"),
        ("decoder.blocks.output.conv", "decoder.head"),
    ]
    return Layout(
        prefixes=(*ends, *inner),
        components=(("w", "weight"), ("b", "bias")),
        level=r"$^",
    )


def _model(tensors: dict[str, Tensor], groups: int, blocks: int, path: str) -> tuple[dict[str, Any], int, int]:
    """The model's settings, the number of codes and that of the images' channels."""
    width, channels = (size(tensors, "encoder.stem.weight", axis, path) for axis in (0, 1))
    widths = [size(tensors, f"encoder.levels.{i}.0.convs.3.weight", 0, path) for i in range(groups)]
    if not groups or any(each % width for each in widths):
        raise TokbenchError(f"{path}: the groups' channels {widths} are not multiples of the first layer's {width}")
    if size(tensors, "decoder.head.weight", 0, path) != 2 * channels:
        raise TokbenchError(f"{path}: a decoder of {len(tensors['decoder.head.weight'])} channels for {channels}")
    model = {
        "architecture": "dall-e",
        "channels": width,
        "multipliers": [each // width for each in widths],
        "blocks": blocks,
        "start_channels": size(tensors, "decoder.from_code.weight", 0, path),
    }
    return model, size(tensors, "encoder.to_code.weight", 0, path), channels


register(Importer("dall-e", recognises, read))
