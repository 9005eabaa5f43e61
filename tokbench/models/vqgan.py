"""VQ-GAN's encoder and decoder (arXiv:2012.09841); RQ-VAE's and LlamaGen's differ only in their settings.

Layout of CompVis/taming-transformers ``taming/modules/diffusionmodules/model.py``. The 1x1 convolutions to and from
the quantizer's channels (taming's ``quant_conv`` and ``post_quant_conv``) sit at the encoder's end and the
decoder's start.
"""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from tokbench.config.grid import Size
from tokbench.config.model import LlamaGenConfig, RQVAEConfig, VARConfig, VQGANConfig

from .blocks import AttnBlock, Downsample, ResnetBlock, Stage, Upsample, group_norm, initialized
from .registry import architecture

Config: TypeAlias = VQGANConfig | RQVAEConfig | LlamaGenConfig | VARConfig


def code_convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Module:
    """Between the latents and what the quantizer takes; none for kernel 0."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2) if kernel else nn.Identity()


class Level(Stage):
    """Of one resolution."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        blocks: int,
        dropout: float,
        groups: int,
        attention: bool,
        resample: nn.Module,
    ) -> None:
        sizes = [channels_in] + [channels_out] * blocks
        super().__init__(
            [ResnetBlock(a, b, dropout, groups=groups) for a, b in zip(sizes[:-1], sizes[1:], strict=True)],
            [AttnBlock(channels_out, groups) for _ in range(blocks if attention else 0)],
            resample,
        )


def middle(channels: int, dropout: float, groups: int, attention: bool) -> nn.Sequential:
    """Residual block, attention, residual block at the lowest resolution."""
    return nn.Sequential(
        ResnetBlock(channels, channels, dropout, groups=groups),
        AttnBlock(channels, groups) if attention else nn.Identity(),
        ResnetBlock(channels, channels, dropout, groups=groups),
    )


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/f, W/f), f = 2^(levels - 1)."""

    def __init__(
        self, config: Config, size: Size, code_channels: int, image_channels: int, code_kernel: int = 1
    ) -> None:
        super().__init__()
        dropout, groups, attention = config.dropout, config.norm_groups, config.attention_levels(size)
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        last = len(config.multipliers) - 1
        self.stem = nn.Conv2d(image_channels, config.channels, 3, padding=1)
        self.levels = nn.ModuleList(
            Level(
                sizes[i],
                sizes[i + 1],
                config.blocks,
                dropout,
                groups,
                i in attention,
                Downsample(sizes[i + 1]) if i < last else nn.Identity(),
            )
            for i in range(last + 1)
        )
        self.middle = middle(sizes[-1], dropout, groups, config.middle_attention)
        self.norm = group_norm(sizes[-1], groups)
        self.head = nn.Conv2d(sizes[-1], config.latent_channels, 3, padding=1)
        self.to_code = code_convolution(config.latent_channels, code_channels, code_kernel)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for level in self.levels:
            x = level(x)
        x = self.middle(x)
        return self.to_code(self.head(F.silu(self.norm(x))))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w), levels from the lowest up."""

    def __init__(
        self, config: Config, size: Size, code_channels: int, image_channels: int, code_kernel: int = 1
    ) -> None:
        super().__init__()
        dropout, groups, attention = config.dropout, config.norm_groups, config.attention_levels(size)
        sizes = [config.channels * m for m in config.multipliers]
        last = len(config.multipliers) - 1
        self.from_code = code_convolution(code_channels, config.latent_channels, code_kernel)
        self.stem = nn.Conv2d(config.latent_channels, sizes[-1], 3, padding=1)
        self.middle = middle(sizes[-1], dropout, groups, config.middle_attention)
        self.levels = nn.ModuleList(
            Level(
                sizes[min(i + 1, last)],
                sizes[i],
                config.blocks + 1,
                dropout,
                groups,
                i in attention,
                Upsample(sizes[i]) if i > 0 else nn.Identity(),
            )
            for i in reversed(range(last + 1))
        )
        self.norm = group_norm(sizes[0], groups)
        self.head = nn.Conv2d(sizes[0], image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image (for VQ-GAN's adaptive discriminator weight)."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.middle(self.stem(self.from_code(quantized)))
        for level in self.levels:
            x = level(x)
        return self.head(F.silu(self.norm(x)))


@architecture(VQGANConfig)
def build(config: Config, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; ``size`` decides which levels have attention."""
    settings = (config, size, code_channels, image_channels)
    return initialized(Encoder(*settings), Decoder(*settings), config.initialization)
