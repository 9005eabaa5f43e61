"""A tiny tokenizer whose codes use their whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch

from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer

MODEL = {
    "architecture": "vqgan", "channels": 8, "multipliers": [1, 1, 1], "blocks": 1, "attention_resolutions": [],
    "middle_attention": False, "latent_channels": 8, "code_channels": 6,
}  # fmt: skip


def make_tokenizer(
    quantizer: dict[str, Any], model: dict[str, Any] | None = None, seed: int = 0, image_size: int = 16
) -> Tokenizer:
    """Images to latents of 6 channels, one of 4x4 pixels, random weights; a codebook of the size of the latents."""
    torch.manual_seed(seed)
    config = TokenizerConfig.model_validate(
        {"image_size": image_size, "model": {**MODEL, **(model or {})}, "quantizer": quantizer}
    )
    tokenizer = Tokenizer(config).eval()
    with torch.no_grad():
        latents = tokenizer.latents(torch.rand(64, 3, 16, 16) * 2 - 1).movedim(1, -1).flatten(0, 2)
        if hasattr(tokenizer.quantizer, "load_codebook") and "codebook_size" in quantizer:
            size = quantizer["codebook_size"]
            vectors = latents[torch.randperm(len(latents))[:size]]
            scale = torch.linspace(1.0, 0.1, size)[:, None] if quantizer["name"] == "rq" else 1.0
            tokenizer.quantizer.load_codebook(vectors * scale)
    return tokenizer
