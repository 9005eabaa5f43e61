"""A tiny tokenizer of clips."""

from __future__ import annotations

from typing import Any

import torch

from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer

VIDEO = {
    "architecture": "magvit2-video", "channels": 8, "multipliers": [1, 2, 2], "blocks": 1, "halve_frames": [True, True],
}  # fmt: skip


def make_clip_tokenizer(codebook_size: int = 16, seed: int = 0, **model: Any) -> Tokenizer:
    """9x16x16 clips to 3x4x4 positions of a code each, random weights; the codes are those of latents."""
    torch.manual_seed(seed)
    config = TokenizerConfig.model_validate(
        {
            "image_size": [9, 16, 16],
            "model": {**VIDEO, "code_channels": 6, **model},
            "quantizer": {"name": "vq", "codebook_size": codebook_size},
        }
    )
    tokenizer = Tokenizer(config).eval()
    with torch.no_grad():
        latents = tokenizer.latents(torch.rand(8, 3, 9, 16, 16) * 2 - 1).movedim(1, -1).flatten(0, 3)
        tokenizer.quantizer.load_codebook(latents[torch.randperm(len(latents))[:codebook_size]])
    return tokenizer
