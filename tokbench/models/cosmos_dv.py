"""Cosmos' discrete video tokenizer (arXiv:2501.03575; NVIDIA/Cosmos-Tokenizer ``networks/discrete_video.py``): wavelet
patches, factorised causal blocks, attention over frames and over time. Causal, but not in pieces: attention over time
keeps every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.video_model import CosmosDVConfig

from .blocks import Stage
from .causal import CausalConv3d, norm3d
from .clip_attention import FrameAttention, TimeAttention
from .cosmos_blocks import FactorizedResidual, HybridDown, HybridUp, factorized
from .patches3d import Patches3d, Unpatches3d
from .registry import architecture


def attention(channels: int) -> nn.Sequential:
    """Within the frame, then over time."""
    kinds = (FrameAttention, TimeAttention)
    return nn.Sequential(*(kind(norm3d(channels, groups=1), channels) for kind in kinds))


class Level(Stage):
    """Of one resolution."""

    def __init__(
        self, sizes: list[int], dropout: float, with_attention: bool, resample: HybridDown | HybridUp | nn.Identity
    ) -> None:
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        super().__init__(
            [FactorizedResidual(a, b, dropout) for a, b in pairs],
            [attention(b) for _, b in pairs if with_attention],
            resample,
        )


def middle(channels: int, dropout: float) -> nn.Sequential:
    """Residual block, attention, residual block at the lowest resolution."""
    return nn.Sequential(
        FactorizedResidual(channels, channels, dropout),
        attention(channels),
        FactorizedResidual(channels, channels, dropout),
    )


class Encoder(nn.Module):
    """Videos (B, C, 1 + t*n, H, W) to latents (B, code_channels, 1 + n, H/f, W/f)."""

    def __init__(self, config: CosmosDVConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        downs = [
            HybridDown(c, *down) if any(down) else nn.Identity()
            for c, down in zip(sizes[1:-1], config.downs, strict=True)
        ]
        self.patches = Patches3d(config.patch_size, config.patch_method)
        self.stem = factorized(image_channels * config.patch_size**3, config.channels)
        self.levels = nn.ModuleList(
            Level([a] + [b] * config.blocks, config.dropout, i in config.attention_levels, resample)
            for i, (a, b, resample) in enumerate(zip(sizes[:-1], sizes[1:], [*downs, nn.Identity()], strict=True))
        )
        self.middle = middle(sizes[-1], config.dropout)
        self.norm = norm3d(sizes[-1], groups=1)
        self.head = factorized(sizes[-1], config.latent_channels)
        self.to_code = CausalConv3d(config.latent_channels, code_channels, (1, 1, 1))

    def forward(self, videos: Tensor) -> Tensor:
        x = self.stem(self.patches(videos).contiguous(memory_format=torch.channels_last_3d))
        for level in self.levels:
            x = level(x)
        return self.to_code(self.head(self.norm(self.middle(x), swish=True)))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, 1 + n, h, w) to videos (B, C, 1 + t*n, f*h, f*w), from the lowest level."""

    def __init__(self, config: CosmosDVConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in reversed((*config.multipliers, config.multipliers[-1]))]
        ups = [HybridUp(c, *up) if any(up) else nn.Identity() for c, up in zip(sizes[1:-1], config.ups, strict=True)]
        last = len(config.multipliers) - 1
        self.from_code = CausalConv3d(code_channels, config.latent_channels, (1, 1, 1))
        self.stem = factorized(config.latent_channels, sizes[0])
        self.middle = middle(sizes[0], config.dropout)
        self.levels = nn.ModuleList(
            Level([a] + [b] * (config.blocks + 1), config.dropout, last - i in config.attention_levels, resample)
            for i, (a, b, resample) in enumerate(zip(sizes[:-1], sizes[1:], [*ups, nn.Identity()], strict=True))
        )
        self.norm = norm3d(sizes[-1], groups=1)
        self.head = factorized(sizes[-1], image_channels * config.patch_size**3)
        self.unpatches = Unpatches3d(config.patch_size, config.patch_method)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the frames' patches."""
        weight = self.head[-1].weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.from_code(quantized.contiguous(memory_format=torch.channels_last_3d))
        x = self.middle(self.stem(x))
        for level in self.levels:
            x = level(x)
        return self.unpatches(self.head(self.norm(x, swish=True)))


@architecture(CosmosDVConfig)
def build(config: CosmosDVConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any size."""
    settings = (config, code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
