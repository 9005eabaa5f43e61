"""One small tokenizer of every architecture."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter

from tokbench.config.architecture import ModelConfig
from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer

SMALL: dict[str, dict[str, Any]] = {
    "vqgan": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": [8], "latent_channels": 8},
    "rqvae": {"channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "attention_resolutions": [4], "latent_channels": 8},
    "var": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "code_channels": 4},
    "llamagen": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "code_channels": 4},
    "chameleon": {
        "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": [8], "latent_channels": 8,
    },
    "magvit2": {"channels": 8, "multipliers": [1, 2], "blocks": 1},
    "pixels": {},
    "vit": {"patch_size": 4, "width": 16, "depth": 1, "heads": 2},
    "bsq-vit": {"patch_size": 4, "width": 16, "depth": 1, "heads": 2, "head_width": 8},
    "unitok": {
        "channels": [4, 8], "blocks": [1, 1], "width": 16, "depth": 1, "heads": 2, "code_channels": 8, "code_heads": 2,
    },
    "cosmos-di": {
        "channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "patch_size": 2,
        "spatial_compression": 4,
    },
    "dall-e": {"channels": 16, "multipliers": [1, 2], "blocks": 1, "start_channels": 8, "code_channels": 16},
    "gigatok": {
        "channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "tokens": 16, "code_channels": 4,
        "encoder": {"width": 16, "depth": 1, "heads": 2}, "decoder": {"width": 16, "depth": 1, "heads": 2},
    },
    "maskgit": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8},
    "emu3": {"channels": 8, "multipliers": [1, 2], "blocks": 1},
    "maskbit": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8, "decoder_blocks": 2},
    "movq": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": [8], "code_channels": 6},
    "titok": {
        "patch_size": 4, "tokens": 12, "tail_drop": 0.5, "initialization": "published",
        "encoder": {"width": 16, "depth": 1, "heads": 2}, "decoder": {"width": 16, "depth": 1, "heads": 2},
    },
    "magvit2-video": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "halve_frames": [True]},
    "vidtok": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "down_frames": [0], "up_frames": [1]},
    "cosmos-dv": {
        "channels": 8, "multipliers": [1, 2], "blocks": 1, "latent_channels": 4, "patch_size": 2,
        "spatial_compression": 4, "temporal_compression": 2,
    },
}  # fmt: skip


def size_of(architecture: str) -> int | tuple[int, ...]:
    """What ``make`` makes it for: 16 pixels a side, or 5 frames of 16."""
    settings = TypeAdapter(ModelConfig).validate_python({"architecture": architecture, **SMALL[architecture]})
    return 16 if len(settings.factors) == 2 else (5, 16, 16)


def make(
    architecture: str, quantizer: dict[str, Any] | None = None, image_channels: int = 3, **model: Any
) -> Tokenizer:
    """A tokenizer of ``size_of(architecture)`` with fixed random weights."""
    settings = {"architecture": architecture, **SMALL[architecture], **model}
    if architecture == "pixels":
        settings.setdefault("code_channels", image_channels)
    quantizer = quantizer or {"name": "rq", "codebook_size": 16, "depth": 3}
    torch.manual_seed(0)
    shape = {"image_size": size_of(architecture), "channels": image_channels}
    return Tokenizer(TokenizerConfig.model_validate({**shape, "model": settings, "quantizer": quantizer}))
