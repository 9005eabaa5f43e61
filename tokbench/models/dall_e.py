"""DALL-E's discrete VAE (arXiv:2102.12092, appendix A.1; openai/DALL-E ``encoder.py``, ``decoder.py``): bottleneck
blocks without norms, to logits over the codes by maximum pooling and back by repeating each position."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tokbench.config.architecture import ImageArchitecture
from tokbench.config.base import Layers, Multipliers
from tokbench.config.grid import Size

from .blocks import Recomputed
from .registry import architecture

MARGIN = 0.1
"""Pixels in [0, 1] are seen in [MARGIN, 1 - MARGIN], where the logit of the logit-Laplace likelihood is finite."""


class DallEConfig(ImageArchitecture):
    """DALL-E's discrete VAE (Ramesh et al. 2021, arXiv:2102.12092), whose codes are `gumbel` with `one_hot`."""

    architecture: Literal["dall-e"] = "dall-e"
    channels: PositiveInt = Field(256, description="channels at full resolution, a multiple of 4")
    multipliers: Multipliers = Field((1, 2, 4, 8), description="channels of each level, in units of `channels`")
    blocks: Layers = Field(2, description="residual blocks per level")
    start_channels: PositiveInt = Field(128, description="that the decoder makes of the codes")

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    @property
    def default_code_channels(self) -> int:
        return 8192

    @property
    def gain(self) -> float:
        """Of every block's residual branch."""
        return 1 / (len(self.multipliers) * self.blocks) ** 2


class Bottleneck(Recomputed):
    """Four times ReLU and a convolution of these kernels, a quarter of the channels in between, scaled and added."""

    def __init__(self, channels_in: int, channels_out: int, kernels: tuple[int, int, int, int], gain: float) -> None:
        super().__init__()
        sizes = [channels_in, *[max(1, channels_out // 4)] * 3, channels_out]
        self.gain = gain
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in zip(sizes[:-1], sizes[1:], kernels, strict=True)
        )
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def _forward(self, x: Tensor) -> Tensor:
        h = x
        for conv in self.convs:
            h = conv(h.relu())
        return self.shortcut(x) + self.gain * h


def levels(
    sizes: list[int], config: DallEConfig, kernels: tuple[int, int, int, int], resample: nn.Module
) -> nn.ModuleList:
    """A row of blocks for each of ``sizes`` but the first, with ``resample`` between two."""
    rows = [
        [Bottleneck(a if j == 0 else b, b, kernels, config.gain) for j in range(config.blocks)]
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return nn.ModuleList(nn.Sequential(*row, resample) for row in rows[:-1]).append(nn.Sequential(*rows[-1]))


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to logits (B, code_channels, H/f, W/f), f = 2^(levels - 1)."""

    def __init__(self, config: DallEConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        self.stem = nn.Conv2d(image_channels, config.channels, 7, padding=3)
        self.levels = levels(sizes, config, (3, 3, 3, 1), nn.MaxPool2d(2))
        self.to_code = nn.Conv2d(sizes[-1], code_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images * (0.5 - MARGIN) + 0.5)
        for level in self.levels:
            x = level(x)
        return self.to_code(x.relu())


class Decoder(nn.Module):
    """Code vectors (B, code_channels, h, w) to images (B, image_channels, f*h, f*w), the likelihood's middles."""

    def __init__(self, config: DallEConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.start_channels, *(config.channels * m for m in reversed(config.multipliers))]
        self.from_code = nn.Conv2d(code_channels, config.start_channels, 1)
        self.levels = levels(sizes, config, (1, 3, 3, 3), nn.Upsample(scale_factor=2.0, mode="nearest"))
        self.head = nn.Conv2d(sizes[-1], image_channels, 1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image's logits."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.from_code(quantized)
        for level in self.levels:
            x = level(x)
        return (self.head(x.relu()).sigmoid() - 0.5) / (0.5 - MARGIN)


@architecture(DallEConfig)
def build(config: DallEConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any size."""
    settings = (config, code_channels, image_channels)
    networks = Encoder(*settings), Decoder(*settings)
    for layer in (layer for network in networks for layer in network.modules()):
        if isinstance(layer, nn.Conv2d):  # as the official code begins
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return networks
