"""Settings under the names of transformers' configurations of VQ-GANs (Chameleon's, Janus's, Emu3's)."""

from __future__ import annotations

from typing import Any

from .checkpoint import section
from .settings import agree, require


def agreed(config: dict[str, Any], found: dict[str, Any], path: str) -> dict[str, Any]:
    """The section of the VQ-GAN, which may be a part of a larger model's; TokbenchError where it says otherwise than
    what was ``found`` in the weights."""
    said = section(config, "channel_multiplier")
    require(said, path, double_latent=False)
    shown = {
        "base_channels": found["channels"],
        "channel_multiplier": found["multipliers"],
        "num_res_blocks": found["blocks"],
        "latent_channels": found["latent_channels"],
        "embed_dim": found["code_channels"],
    }
    agree(said, shown, path)
    return said
