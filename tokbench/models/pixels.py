"""No encoder: the quantizer sees the pixels themselves. For a palette of colours, or as the end point f = 1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tokbench.config.architecture import ImageArchitecture
from tokbench.config.grid import Size
from tokbench.errors import TokbenchError

from .registry import architecture


class PixelsConfig(ImageArchitecture):
    """Pixels as they are. What the quantizer gives passes one 1x1 convolution, which starts as the identity;
    ``training.freeze: [decoder]`` keeps it so."""

    architecture: Literal["pixels"] = "pixels"

    @property
    def downsampling(self) -> int:
        return 1

    @property
    def default_code_channels(self) -> int:
        return 3


class PixelDecoder(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels, channels, 1)
        with torch.no_grad():
            nn.init.dirac_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def last_layer(self) -> Tensor:
        return self.out.weight

    def forward(self, quantized: Tensor) -> Tensor:
        return self.out(quantized)


@architecture(PixelsConfig)
def build(config: PixelsConfig, size: Size, channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """TokbenchError where the quantizer takes other than the images' channels."""
    if channels != image_channels:
        raise TokbenchError(
            f"pixels: the quantizer takes {channels} channels and the images have {image_channels}: "
            f"set model.code_channels={image_channels}, or another architecture"
        )
    return nn.Identity(), PixelDecoder(image_channels)
