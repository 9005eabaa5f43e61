"""MAGVIT-v2's encoder and decoder for videos and images (arXiv:2310.05737, section 3.2 and figure 2).

The image networks of :mod:`tokbench.models.magvit2` with causal convolutions in place of 2D ones, by the same names:
strided convolutions down (in space first, late in time), depth to space up, no attention. Two public forms fit:
cofe-ai/O2-MAGVIT2 ``modeling/magvit2.py`` (the figure, exactly causal) and TencentARC/SEED-Voken
``improved_video_model.py`` (GroupNorm and code statistics over the whole clip).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.video_model import MAGVIT2VideoConfig

from .blocks import initialized
from .causal import CausalConv3d, CausalResidual, norm3d
from .registry import architecture
from .resampling3d import AdaptiveNorm3d, DepthToSpace3d


def _residual_blocks(config: MAGVIT2VideoConfig) -> Callable[[int, int], nn.Sequential]:
    """What makes a level's blocks, the first of which changes the channels."""
    settings = (config.norm_groups, config.norm_over, config.norm_epsilon, config.padding, config.kernel_frames)

    def blocks(channels_in: int, channels_out: int) -> nn.Sequential:
        sizes = [channels_in] + [channels_out] * config.blocks
        return nn.Sequential(*(CausalResidual(a, b, *settings) for a, b in zip(sizes[:-1], sizes[1:], strict=True)))

    return blocks


class Encoder(nn.Module):
    """Videos (B, C, T, H, W) to latents (B, code_channels, 1 + (T - 1)/t, H/f, W/f)."""

    def __init__(self, config: MAGVIT2VideoConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        blocks, before, kernel = _residual_blocks(config), config.padding, (config.kernel_frames, 3, 3)
        self.stem = CausalConv3d(image_channels, config.channels, kernel, bias=config.stem_bias, before=before)
        self.levels = nn.ModuleList(blocks(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.down = nn.ModuleList(
            CausalConv3d(c, c, kernel, (frames, 2, 2), before=before)
            for c, frames in zip(sizes[1:-1], config.frame_strides, strict=True)
        )
        self.middle = blocks(sizes[-1], sizes[-1])
        self.norm = norm3d(sizes[-1], config.norm_groups, config.norm_over, config.norm_epsilon)
        self.head = CausalConv3d(sizes[-1], code_channels, (1, 1, 1))

    def forward(self, videos: Tensor) -> Tensor:
        x = self.stem(videos.contiguous(memory_format=torch.channels_last_3d))
        for level, down in zip(self.levels, [*self.down, nn.Identity()], strict=True):
            x = down(level(x))
        return self.head(self.norm(self.middle(x), swish=True))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, 1 + n, h, w) to videos (B, C, 1 + t*n, f*h, f*w), from the lowest level."""

    def __init__(self, config: MAGVIT2VideoConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in reversed((*config.multipliers, config.multipliers[-1]))]
        strides = config.frame_strides[::-1]
        repeats = accumulate((1, *strides), mul)
        blocks, before, kernel = _residual_blocks(config), config.padding, (config.kernel_frames, 3, 3)
        norms = (config.norm_groups, config.norm_over, config.norm_epsilon)
        self.stem = CausalConv3d(code_channels, sizes[0], kernel, before=before)
        self.middle = blocks(sizes[0], sizes[0])
        self.adaptive = nn.ModuleList(
            AdaptiveNorm3d(c, code_channels, r, config.adaptive, *norms)
            for c, r in zip(sizes[:-1], repeats, strict=True)
        )
        self.levels = nn.ModuleList(blocks(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.up = nn.ModuleList(
            DepthToSpace3d(c, frames, config.dropped_frame, before, config.kernel_frames)
            for c, frames in zip(sizes[1:-1], strides, strict=True)
        )
        self.norm = norm3d(sizes[-1], *norms)
        self.head = CausalConv3d(sizes[-1], image_channels, kernel, before=before)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the frames."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.middle(self.stem(quantized.contiguous(memory_format=torch.channels_last_3d)))
        for adaptive, level, up in zip(self.adaptive, self.levels, [*self.up, nn.Identity()], strict=True):
            x = up(level(adaptive(x, quantized)))
        return self.head(self.norm(x, swish=True))


@architecture(MAGVIT2VideoConfig)
def build(config: MAGVIT2VideoConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any size and any number of frames that the strides take."""
    settings = (config, code_channels, image_channels)
    return initialized(Encoder(*settings), Decoder(*settings), config.initialization)
