"""Official models' outputs. Their weights and images need not lie in a file: they are drawn, the same everywhere."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tokbench.splitmix import mix_all

FIXTURES = Path(__file__).parents[1] / "fixtures" / "importers"


def evenly(name: str, shape: Sequence[int]) -> Tensor:
    """Numbers from -1 to 1 that depend on ``name`` alone."""
    keys = torch.arange(math.prod(shape)) + (zlib.crc32(name.encode()) << 31)
    return ((mix_all(keys) >> 40).double() / 2**23).float().reshape(tuple(shape))


def images(height: int, width: int) -> Tensor:
    """(1, 3, H, W) in [-1, 1]: blocks of 8 pixels and noise."""
    coarse = evenly("coarse", (1, 3, height // 8, width // 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return (3 * coarse + evenly("fine", (1, 3, height, width))) / 4


def drawn(shapes: Mapping[str, Sequence[int]], gains: Mapping[str, float]) -> dict[str, Tensor]:
    """Weights by name that keep about the variance of what they are given; ``gains``: factors of the names with this
    pattern in them."""
    found = {}
    for name, shape in shapes.items():
        gain = math.prod(gain for pattern, gain in gains.items() if re.search(pattern, name))
        values = evenly(name, shape)
        if len(shape) > 1:
            found[name] = values * (gain * math.sqrt(3 * shape[0] / math.prod(shape)))
        else:
            found[name] = (values / 5 + float(name.endswith(("weight", "var")))) * gain
    return found


def official(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the fixture ``name``, and what the official model made with them of the images ``x`` in [-1, 1]:
    ``indices`` and ``reconstruction``."""
    with safe_open(FIXTURES / f"{name}.safetensors", framework="pt") as file:
        said = file.metadata()
        results = {key: file.get_tensor(key) for key in ("indices", "reconstruction")}
    height, width = results["reconstruction"].shape[2:]
    results["x"] = images(height, width)
    return drawn(json.loads(said["shapes"]), json.loads(said["gains"])), results
