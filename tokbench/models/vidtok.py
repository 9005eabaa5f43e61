"""VidTok's causal encoder and decoder (arXiv:2412.13061; microsoft/VidTok ``vidtok/modules/model_3dcausal.py``).

Each level has residual blocks in space, frame by frame, each followed by one in time; only the middle and both ends
convolve in all three. As many frames as one latent stands for, less one, are put before the clip: the first again.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.video_model import VidTokConfig

from .blocks import Recomputed
from .causal import CausalConv3d, Padding, norm3d
from .clip_attention import FrameAttention
from .registry import architecture
from .vidtok_resampling import SpaceDown, SpaceUp, TimeDown, TimeUp


class PositionNorm(nn.LayerNorm):
    """LayerNorm over the channels of every position of (B, C, T, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(super().forward(rearrange(x, "b c t h w -> b t h w c")), "b t h w c -> b c t h w")


def _norm(config: VidTokConfig, channels: int) -> nn.Module:
    return PositionNorm(channels, eps=1e-6) if config.norm == "layer" else norm3d(channels)


class Residual(Recomputed):
    """Norm, swish and convolution twice, added to the input: over a frame, over time, or over both."""

    ends_in = "conv2"

    def __init__(
        self, config: VidTokConfig, channels_in: int, channels_out: int, over: Literal["frame", "time", "both"]
    ) -> None:
        super().__init__()
        kernel = {"frame": (1, 3, 3), "time": (3, 1, 1), "both": (3, 3, 3)}[over]
        before = before_first(config)
        self.norm1 = _norm(config, channels_in)
        self.conv1 = CausalConv3d(channels_in, channels_out, kernel, before=before)
        self.norm2 = _norm(config, channels_out)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = CausalConv3d(channels_out, channels_out, kernel, before=before)
        same = channels_in == channels_out
        self.shortcut: nn.Module = nn.Identity() if same else CausalConv3d(channels_in, channels_out, (1, 1, 1))
        if over == "time":  # as published: blocks in time add nothing at first
            nn.init.zeros_(self.conv2.weight)
            nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def _forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class Level(nn.Module):
    """Blocks in space, each followed by one in time, then the resamplings: in space first."""

    def __init__(
        self, config: VidTokConfig, channels_in: int, channels: int, blocks: int, resample: nn.Module, frames: nn.Module
    ) -> None:
        super().__init__()
        sizes = [channels_in] + [channels] * blocks
        self.space = nn.ModuleList(Residual(config, a, b, "frame") for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.time = nn.ModuleList(Residual(config, channels, channels, "time") for _ in range(blocks))
        self.resample, self.resample_time = resample, frames

    def forward(self, x: Tensor) -> Tensor:
        for space, time in zip(self.space, self.time, strict=True):
            x = time(space(x))
        return self.resample_time(self.resample(x))


def middle(config: VidTokConfig, channels: int) -> nn.Sequential:
    """Residual block, attention, residual block at the lowest resolution."""
    return nn.Sequential(
        Residual(config, channels, channels, "both"),
        FrameAttention(_norm(config, channels), channels),
        Residual(config, channels, channels, "both"),
    )


def before_first(config: VidTokConfig) -> Padding:
    """What convolutions take for frames before the first."""
    return "zeros" if config.release == "1.0" else "first-frame"


class Encoder(nn.Module):
    """Videos (B, C, 1 + t*n, H, W) to latents (B, code_channels, 1 + n, H/f, W/f)."""

    def __init__(self, config: VidTokConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        before = before_first(config)
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        last = len(config.multipliers) - 1
        self.lead = 2 ** len(config.down_frames) - 1
        self.stem = CausalConv3d(image_channels, config.channels, before=before)
        self.levels = nn.ModuleList(
            Level(
                config,
                sizes[i],
                sizes[i + 1],
                config.blocks,
                SpaceDown(sizes[i + 1]) if i < last else nn.Identity(),
                TimeDown(sizes[i + 1], before) if i in config.down_frames else nn.Identity(),
            )
            for i in range(last + 1)
        )
        self.middle = middle(config, sizes[-1])
        self.norm = _norm(config, sizes[-1])
        self.head = CausalConv3d(sizes[-1], code_channels, before=before)

    def forward(self, videos: Tensor) -> Tensor:
        x = videos.contiguous(memory_format=torch.channels_last_3d)
        if self.stem.is_first_piece:
            x = torch.cat([x[:, :, :1].expand(-1, -1, self.lead, -1, -1), x], dim=2)
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        return self.head(F.silu(self.norm(self.middle(x))))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, 1 + n, h, w) to videos (B, C, 1 + t*n, f*h, f*w), from the lowest level."""

    def __init__(self, config: VidTokConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        before = before_first(config)
        sizes = [config.channels * m for m in (*config.multipliers, config.multipliers[-1])]
        last = len(config.multipliers) - 1
        self.lead = 2 ** len(config.up_frames) - 1
        self.stem = CausalConv3d(code_channels, sizes[-1], before=before)
        self.middle = middle(config, sizes[-1])
        levels = []
        doubled = 1  # frames that one latent has become
        for i in reversed(range(last + 1)):
            up = TimeUp(sizes[i], before, config.interpolation, doubled) if i in config.up_frames else nn.Identity()
            doubled *= 2 if i in config.up_frames else 1
            space = SpaceUp(sizes[i]) if i > 0 else nn.Identity()
            levels.append(Level(config, sizes[i + 1], sizes[i], config.blocks + 1, space, up))
        self.levels = nn.ModuleList(levels)
        self.norm = _norm(config, sizes[0])
        self.head = CausalConv3d(sizes[0], image_channels, before=before)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the frames."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        first_piece = self.stem.is_first_piece
        x = self.middle(self.stem(quantized.contiguous(memory_format=torch.channels_last_3d)))
        for level in self.levels:
            x = level(x)
        x = self.head(F.silu(self.norm(x)))
        return x[:, :, self.lead :] if first_piece else x


@architecture(VidTokConfig)
def build(config: VidTokConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any size."""
    settings = (config, code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
