"""One small tokenizer of every architecture."""

from __future__ import annotations

from typing import Any

import torch

from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer

SMALL: dict[str, dict[str, Any]] = {
    "vqgan": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": [8], "latent_channels": 8},
    "rqvae": {"channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "attention_resolutions": [4], "latent_channels": 8},
    "llamagen": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "code_channels": 4},
    "magvit2": {"channels": 8, "multipliers": [1, 2], "blocks": 1},
    "vit": {"patch_size": 4, "width": 16, "depth": 1, "heads": 2},
}


def make(
    architecture: str, quantizer: dict[str, Any] | None = None, image_channels: int = 3, **model: Any
) -> Tokenizer:
    """A tokenizer of 16x16 images with fixed random weights."""
    settings = {"architecture": architecture, **SMALL[architecture], **model}
    quantizer = quantizer or {"name": "rq", "codebook_size": 16, "depth": 3}
    torch.manual_seed(0)
    shape = {"image_size": 16, "channels": image_channels}
    return Tokenizer(TokenizerConfig.model_validate({**shape, "model": settings, "quantizer": quantizer}))
