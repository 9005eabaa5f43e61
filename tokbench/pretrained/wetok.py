"""WeTok (zhuangshaobin/WeTok ``lfqgan.VQModel``): Open-MAGVIT2's networks and names around signs in groups (GFQ).

Names cannot tell it from Open-MAGVIT2; a LightningCLI YAML with ``num_codebooks`` can, or whoever imports. Without one
a group has 8 bits, as in every release.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import open_magvit2
from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import size

BITS = 8  # of a group


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from a Lightning checkpoint and its LightningCLI YAML (``model.init_args``)."""
    if section(config, "num_codebooks"):
        return open_magvit2.read(given, config, path)
    groups = size(given, "encoder.conv_out.weight", 0, path) // BITS
    plan = open_magvit2.read(given, {**config, "n_embed": 2**BITS, "num_codebooks": groups}, path)
    plan.notes.append(f"taken to have {groups} groups of {BITS} bits, as released")
    return plan


register(Importer("wetok", open_magvit2.recognises, read, evaluates="ema", classes=("VQModel",), like="open-magvit2"))
