"""MoVQ's decoder (arXiv:2209.09002) after VQ-GAN's encoder: every norm is modulated by the codes, place by place.

Values equal those of ``VQModel`` with ``norm_type: spatial`` in huggingface/diffusers (Kandinsky 2).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokbench.config.base import Multipliers
from tokbench.config.grid import Size
from tokbench.config.model import VQGANConfig

from . import vqgan
from .blocks import AttnBlock, ResnetBlock, Upsample, group_norm, initialized
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

    def __init__(self, channels: int, code_channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.scale = nn.Conv2d(code_channels, channels, 1)
        self.shift = nn.Conv2d(code_channels, channels, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        # a 1x1 convolution before the enlargement gives what it would after, from fewer places
        scale, shift = (F.interpolate(f(codes), x.shape[-2:], mode="nearest") for f in (self.scale, self.shift))
        return torch.addcmul(shift, self.norm(x), scale)


class SpatialBlock(ResnetBlock):
    """A residual block whose norms are modulated by the codes."""

    def __init__(self, channels_in: int, channels_out: int, code_channels: int, dropout: float, groups: int) -> None:
        super().__init__(channels_in, channels_out, dropout, groups=groups)
        self.norm1 = SpatialNorm(channels_in, code_channels, groups)
        self.norm2 = SpatialNorm(channels_out, code_channels, groups)

    def _forward(self, x: Tensor, codes: Tensor) -> Tensor:  # type: ignore[override]
        h = self.conv1(F.silu(self.norm1(x, codes)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h, codes))))
        return self.shortcut(x) + h

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:  # type: ignore[override]
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(self._forward, x, codes, use_reentrant=False)
        return self._forward(x, codes)


class SpatialAttention(AttnBlock):
    """Attention whose norm is modulated by the codes."""

    def __init__(self, channels: int, code_channels: int, groups: int) -> None:
        super().__init__(channels, groups)
        self.norm = SpatialNorm(channels, code_channels, groups)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:  # type: ignore[override]
        return x + self.look(self.norm(x, codes))


class SpatialLevel(nn.Module):
    """The residual blocks of one resolution, each followed by attention where the level has it, then a resampling."""

    def __init__(self, blocks: list[SpatialBlock], attention: list[SpatialAttention], resample: nn.Module) -> None:
        super().__init__()
        self.blocks, self.attention, self.resample = nn.ModuleList(blocks), nn.ModuleList(attention), resample

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, codes)
            if len(self.attention):
                x = self.attention[i](x, codes)
        return self.resample(x)  # type: ignore[no-any-return]


class SpatialDecoder(nn.Module):
    """Latents (B, latent_channels, h, w) and codes (B, code_channels, h, w) to images, levels from the lowest up."""

    def __init__(self, config: vqgan.Config, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__()
        dropout, groups, attention = config.dropout, config.norm_groups, config.attention_levels(size)
        sizes = [config.channels * m for m in config.multipliers]
        last, lowest = len(sizes) - 1, sizes[-1]

        def block(channels_in: int, channels_out: int) -> SpatialBlock:
            return SpatialBlock(channels_in, channels_out, code_channels, dropout, groups)

        def looking(channels: int) -> SpatialAttention:
            return SpatialAttention(channels, code_channels, groups)

        def level(i: int) -> SpatialLevel:
            widths = [sizes[min(i + 1, last)]] + [sizes[i]] * (config.blocks + 1)
            return SpatialLevel(
                [block(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)],
                [looking(sizes[i]) for _ in range(config.blocks + 1 if i in attention else 0)],
                Upsample(sizes[i]) if i > 0 else nn.Identity(),
            )

        self.stem = nn.Conv2d(config.latent_channels, lowest, 3, padding=1)
        attend = looking(lowest) if config.middle_attention else nn.Identity()
        self.middle = nn.ModuleList([block(lowest, lowest), attend, block(lowest, lowest)])
        self.levels = nn.ModuleList(level(i) for i in reversed(range(last + 1)))
        self.norm = SpatialNorm(sizes[0], code_channels, groups)
        self.head = nn.Conv2d(sizes[0], image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image."""
        return self.head.weight

    def draw(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Images (B, image_channels, f*h, f*w)."""
        x = self.stem(latents)
        for part in (*self.middle, *self.levels):
            x = x if isinstance(part, nn.Identity) else part(x, codes)
        return self.head(F.silu(self.norm(x, codes)))


class Decoder(SpatialDecoder):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w)."""

    def __init__(self, config: MoVQConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels)
        self.from_code = vqgan.code_convolution(config, code_channels, config.latent_channels)

    def forward(self, quantized: Tensor) -> Tensor:
        return self.draw(self.from_code(quantized), quantized)


@architecture(MoVQConfig)
def build(config: MoVQConfig, size: Size, code_channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of ``config``; ``size`` decides which levels have attention."""
    settings = (config, size, code_channels, image_channels)
    return initialized(vqgan.Encoder(*settings), Decoder(*settings), config.initialization)
