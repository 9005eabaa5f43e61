"""Two architectures that the package does not know: images to N latents, and clips to a causal map of three axes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from small_tokenizers import SMALL
from torch import Tensor, nn

from tokbench.config.architecture import Architecture
from tokbench.config.grid import Grid, Size
from tokbench.models.registry import architecture


class LineConfig(Architecture):
    """Square images to ``tokens`` latents in a row, whatever their size."""

    architecture: Literal["toy-line"] = "toy-line"
    tokens: int = 6
    patch: int = 4

    @property
    def factors(self) -> Grid:
        return (self.patch, self.patch)

    def grid(self, size: Size) -> Grid:
        super().grid(size)
        return (self.tokens,)

    @property
    def reduction(self) -> str:
        return f"{self.tokens} tokens"

    @property
    def default_code_channels(self) -> int:
        return 4


class LineEncoder(nn.Module):
    """(B, C, H, W) -> (B, c, N): each latent is a weighted mean of the patches."""

    def __init__(self, config: LineConfig, channels: int, image_channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(image_channels, 16, config.patch, stride=config.patch)
        self.queries = nn.Linear(16, config.tokens)
        self.to_code = nn.Conv1d(16, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)  # (B, patches, 16)
        return self.to_code(x.transpose(1, 2) @ self.queries(x).softmax(1))


class LineDecoder(nn.Module):
    """(B, c, N) -> (B, C, H, W) of the one size it was made for."""

    def __init__(self, config: LineConfig, shape: Grid, channels: int, image_channels: int) -> None:
        super().__init__()
        self.shape = (image_channels, *shape)
        self.out = nn.Linear(config.tokens * channels, math.prod(self.shape))

    @property
    def last_layer(self) -> Tensor:
        return self.out.weight

    def forward(self, quantized: Tensor) -> Tensor:
        return self.out(quantized.flatten(1)).unflatten(1, self.shape)


@architecture(LineConfig)
def build_line(config: LineConfig, size: Size, channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    shape = (size, size) if isinstance(size, int) else size
    return LineEncoder(config, channels, image_channels), LineDecoder(config, shape, channels, image_channels)


class ClipConfig(Architecture):
    """Clips of 1 + 2n frames to 1 + n maps."""

    architecture: Literal["toy-clip"] = "toy-clip"
    causal = True

    @property
    def factors(self) -> Grid:
        return (2, 4, 4)

    @property
    def default_code_channels(self) -> int:
        return 4


class ClipEncoder(nn.Module):
    """The first frame is put before the clip once more, so that it has a latent of its own."""

    def __init__(self, channels: int, image_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(image_channels, channels, (2, 4, 4), stride=(2, 4, 4))

    def forward(self, clips: Tensor) -> Tensor:
        return self.conv(torch.cat([clips[:, :, :1], clips], dim=2))


class ClipDecoder(nn.Module):
    """The inverse: what was made of the frame put before is dropped."""

    def __init__(self, channels: int, image_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(channels, image_channels, (2, 4, 4), stride=(2, 4, 4))

    @property
    def last_layer(self) -> Tensor:
        return self.conv.weight

    def forward(self, quantized: Tensor) -> Tensor:
        return self.conv(quantized)[:, :, 1:]


@architecture(ClipConfig)
def build_clip(config: ClipConfig, size: Size, channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    return ClipEncoder(channels, image_channels), ClipDecoder(channels, image_channels)


SMALL |= {"toy-line": {}, "toy-clip": {}}
