"""Settings read off the weights themselves, and held against what a configuration file says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section

MOST = 1000
"""Levels, blocks and layers that names may count to: one name must not make work for hours."""


def count(tensors: dict[str, Tensor], pattern: str) -> int:
    """One more than the highest number that ``pattern``'s group takes among the names; 0 where none matches."""
    found = [int(match[1]) for name in tensors if (match := re.match(pattern, name))]
    if found and max(found) >= MOST:
        raise TokbenchError(f"a weight's name counts to {max(found):.3g}; no model has more than {MOST} of anything")
    return max(found) + 1 if found else 0


def pyramid(tensors: dict[str, Tensor], path: str, block: str = "encoder.levels.{i}.blocks.{j}") -> dict[str, Any]:
    """``channels``, ``multipliers`` and ``blocks`` of an encoder by our names.

    ``block`` is a residual block's name with ``{i}`` for the level and ``{j}`` for the block.
    """
    levels = count(tensors, re.escape(block.split("{i}")[0]) + r"(\d+)\.")
    channels = size(tensors, "encoder.stem.weight", 0, path)
    widths = [size(tensors, block.format(i=i, j=0) + ".conv1.weight", 0, path) for i in range(levels)]
    if not levels or any(width % channels for width in widths):
        raise TokbenchError(f"{path}: the levels' channels {widths} are not multiples of the first layer's {channels}")
    start = re.escape(block.format(i=0, j="NUMBER")).replace("NUMBER", r"(\d+)")
    return {
        "channels": channels,
        "multipliers": [width // channels for width in widths],
        "blocks": count(tensors, start + r"\."),
    }


def size(tensors: dict[str, Tensor], name: str, axis: int, path: str) -> int:
    """One side of a weight; TokbenchError when the weight is missing."""
    if name not in tensors:
        raise TokbenchError(f"{path}: the checkpoint has no weight for {name}")
    return int(tensors[name].shape[axis])


def taker(left: dict[str, Tensor], path: str, prefix: str = "") -> Callable[[str], Tensor]:
    """``take(name)``, which takes a weight out of ``left``; TokbenchError, with ``prefix``, when it is missing."""

    def take(name: str) -> Tensor:
        if name not in left:
            raise TokbenchError(f"{path}: the checkpoint has no weight for {prefix}{name}")
        return left.pop(name)

    return take


def image_channels(tensors: dict[str, Tensor], path: str, any_number: bool = False) -> int:
    """Of the images, in and out alike: 3 or 1, unless any number will do. TokbenchError for a model of other images."""
    taken, given = size(tensors, "encoder.stem.weight", 1, path), size(tensors, "decoder.head.weight", 0, path)
    if taken != given or (taken not in (1, 3) and not any_number):
        raise TokbenchError(
            f"{path}: a model from images of {taken} channels to images of {given}; only RGB (3) and grey (1), the "
            "same on both sides, are supported"
        )
    return taken


def agree(said: dict[str, Any], found: dict[str, Any], path: str) -> None:
    """TokbenchError naming every setting that the configuration gives otherwise than the weights have it.

    A setting the configuration leaves out is taken from the weights.
    """
    wrong = []
    for name, value in found.items():
        given = said.get(name)
        given = list(given) if isinstance(given, (list, tuple)) else given
        if given is not None and given != value:
            wrong.append(f"{name} is {given} in the configuration but {value} in the weights")
    if wrong:
        raise TokbenchError(f"{path}: the configuration does not fit the weights: {'; '.join(wrong)}")


def attention_resolutions(said: Any, levels: list[int], image_size: int, total: int, path: str) -> list[int]:
    """Map sides with attention, given the levels that have it in the weights; checked against the configuration."""
    sides = [image_size // 2**level for level in range(total)]
    if said is None:
        return [sides[level] for level in levels]
    by_config = [level for level, side in enumerate(sides) if side in said]
    if by_config != levels:
        raise TokbenchError(
            f"{path}: the configuration does not fit the weights: attn_resolutions {list(said)} at resolution "
            f"{image_size} puts attention at levels {by_config}, the weights have it at {levels}"
        )
    return [int(side) for side in said]


def require(config: dict[str, Any], path: str, **wanted: Any) -> None:
    """TokbenchError where the configuration asks for something other than ``wanted``; what it leaves out is fine."""
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise TokbenchError(f"{path}: {key}: {config[key]!r} is not supported, only {value!r}")


def clip_size(side: Any, config: dict[str, Any]) -> tuple[int, int, int]:
    """(T, H, W) of the clips that a model was trained on: 17 frames, MAGVIT-v2's number, where nothing else is said."""
    said = section(config, "num_frames").get("num_frames") or section(config, "sequence_length").get("sequence_length")
    return (int(said or 17), int(side), int(side))
