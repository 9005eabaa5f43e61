"""MoVQ's decoder (arXiv:2209.09002) after VQ-GAN's encoder: every norm is modulated by the codes, place by place.

Values equal those of ``VQModel`` with ``norm_type: spatial`` in huggingface/diffusers (Kandinsky 2).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from tokbench.config.base import Multipliers
from tokbench.config.grid import Size
from tokbench.config.model import VQGANConfig

from . import vqgan
from .blocks import initialized
from .registry import architecture


class MoVQConfig(VQGANConfig):
    """VQ-GAN's encoder, and a decoder with spatially modulated norms (Zheng et al. 2022, arXiv:2209.09002)."""

    architecture: Literal["movq"] = "movq"  # type: ignore[assignment]
    multipliers: Multipliers = (1, 2, 2, 4)
    attention_resolutions: tuple[PositiveInt, ...] = (32,)
    latent_channels: PositiveInt = 4


class SpatialNorm(nn.Module):
    """GroupNorm of (B, C, H, W), scaled and shifted by 1x1 convolutions of the codes (B, code_channels, h, w), the
    nearest of which holds for a place."""

    def __init__(self, norm: nn.GroupNorm, code_channels: int) -> None:
        super().__init__()
        self.norm = norm
        self.scale = nn.Conv2d(code_channels, norm.num_channels, 1)
        self.shift = nn.Conv2d(code_channels, norm.num_channels, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        # a 1x1 convolution before the enlargement gives what it would after, from fewer places
        scale, shift = (F.interpolate(f(codes), x.shape[-2:], mode="nearest") for f in (self.scale, self.shift))
        return torch.addcmul(shift, self.norm(x), scale)


class SpatialDecoder(vqgan.Decoder):
    """VQ-GAN's decoder whose norms are modulated by the codes (B, code_channels, h, w)."""

    def __init__(self, config: vqgan.Config, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels)
        for parent in list(self.modules()):
            for name, part in list(parent.named_children()):
                if isinstance(part, nn.GroupNorm):
                    setattr(parent, name, SpatialNorm(part, code_channels))

    def draw(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Latents (B, latent_channels, h, w) to images (B, image_channels, f*h, f*w)."""
        x = self.stem(latents)
        for part in (*self.middle, *self.levels):
            x = x if isinstance(part, nn.Identity) else part(x, codes)
        return self.head(F.silu(self.norm(x, codes)))


class Decoder(SpatialDecoder):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w)."""

    def forward(self, quantized: Tensor) -> Tensor:
        return self.draw(self.from_code(quantized), quantized)


@architecture(MoVQConfig)
def build(config: MoVQConfig, size: Size, code_channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of ``config``; ``size`` decides which levels have attention."""
    settings = (config, size, code_channels, image_channels)
    return initialized(vqgan.Encoder(*settings), Decoder(*settings), config.initialization)
