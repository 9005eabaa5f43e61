"""Emu3's tokenizer (arXiv:2409.18869) for images: MoVQ's networks, and causal convolutions over time on the latents.

An image is a clip of ``frames`` equal frames, which become one position in time; of those that come back the first is
the image. Values equal those of ``Emu3VQVAE`` in huggingface/transformers.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tokbench.config.base import Multipliers
from tokbench.config.grid import Size
from tokbench.config.model import LlamaGenConfig
from tokbench.errors import TokbenchError

from . import vqgan
from .blocks import initialized
from .causal import CausalConv3d
from .movq import SpatialDecoder
from .registry import architecture


class Emu3Config(LlamaGenConfig):
    """Emu3's: MoVQ with convolutions over time (Wang et al. 2024, arXiv:2409.18869)."""

    architecture: Literal["emu3"] = "emu3"  # type: ignore[assignment]
    channels: PositiveInt = Field(256, description="channels at full resolution")
    multipliers: Multipliers = (1, 2, 2, 4)
    latent_channels: PositiveInt = Field(4, description="of the latents, and of the codes")
    attention: bool = Field(True, description="at the lowest level, after each block")
    frames: Literal[1, 2, 4, 8] = Field(4, description="that become one position in time")

    def attention_levels(self, size: Size) -> tuple[int, ...]:
        """The lowest level, or none."""
        return super().attention_levels(size) if self.attention else ()


def time_conv(channels_in: int, channels_out: int, frames: int = 3, side: int = 3, stride: int = 1) -> CausalConv3d:
    """Over (B, C, T, H, W), two frames of zeros before the first, as many places as it was given."""
    return CausalConv3d(channels_in, channels_out, (frames, side, side), (stride, 1, 1), lead=2)


class TimeNorm(nn.Module):
    """BatchNorm3d, without its count of batches."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)


class TimeBlock(nn.Module):
    """Twice batch norm, swish, convolution, added to the input (B, C, T, H, W)."""

    ends_in = "conv2"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = TimeNorm(channels), TimeNorm(channels)
        self.conv1, self.conv2 = time_conv(channels, channels), time_conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class FramesToOne(nn.Module):
    """Latents (B, latent_channels, h, w) of one frame that repeats to (B, code_channels, h, w)."""

    def __init__(self, config: Emu3Config, code_channels: int) -> None:
        super().__init__()
        width, self.frames = config.latent_channels, config.frames
        times = self.frames.bit_length() - 1
        self.halve = nn.ModuleList(time_conv(width, width, frames=4, stride=2) for _ in range(times))
        self.blocks = nn.ModuleList(TimeBlock(width) for _ in range(config.blocks))
        self.out = time_conv(width, code_channels, side=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = latents[:, :, None].expand(-1, -1, self.frames, -1, -1)
        for conv in self.halve:
            x = F.silu(conv(x))
        for block in self.blocks:
            x = block(x)
        return self.out(x)[:, :, 0]  # type: ignore[no-any-return]


class Encoder(vqgan.Encoder):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/f, W/f), f = 2^(levels - 1)."""

    def __init__(self, config: Emu3Config, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels)
        self.to_code = FramesToOne(config, code_channels)


class Decoder(SpatialDecoder):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w)."""

    def __init__(self, config: Emu3Config, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels)
        width = config.latent_channels
        self.from_code = time_conv(code_channels, width, side=1)
        self.blocks = nn.ModuleList(TimeBlock(width) for _ in range(config.blocks))
        self.stretch = nn.ModuleList(time_conv(width, width) for _ in range(config.frames.bit_length() - 1))

    def forward(self, quantized: Tensor) -> Tensor:
        codes = quantized[:, :, None]
        x = torch.cat([self.from_code(codes), codes])  # both pass the same convolutions
        for block in self.blocks:
            x = block(x)
        for conv in self.stretch:
            # the first frame that comes out looks at none after it, so that only that one is kept
            x = F.silu(conv(x))
        return self.draw(*x[:, :, 0].unflatten(0, (2, -1)).unbind())


@architecture(Emu3Config)
def build(config: Emu3Config, size: Size, code_channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of ``config``, for images of any size."""
    if code_channels != config.latent_channels:
        raise TokbenchError(
            f"model.code_channels {code_channels}: emu3's codes pass what its latents pass, so they have "
            f"model.latent_channels {config.latent_channels} channels"
        )
    settings = (config, size, code_channels, image_channels)
    return initialized(Encoder(*settings), Decoder(*settings), config.initialization)
