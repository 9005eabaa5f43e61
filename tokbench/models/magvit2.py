"""MAGVIT-v2's encoder and decoder for images (arXiv:2310.05737, section 3.2 and figure 2), without attention.

Layout of TencentARC/SEED-Voken ``Open_MAGVIT2/modules/diffusionmodules/improved_model.py``: strided convolutions
down, depth-to-space up, residual convolutions without bias, and before every decoder level an adaptive GroupNorm
driven by the codes. There is no convolution between the encoder and the quantizer.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tokbench.config.grid import Size
from tokbench.config.model import MAGVIT2Config

from .blocks import AdaptiveGroupNorm, DepthToSpaceUpsample, ResnetBlock, group_norm, initialized
from .registry import architecture


def residual_blocks(channels_in: int, channels_out: int, blocks: int, groups: int) -> nn.Sequential:
    """``blocks`` residual blocks without bias, the first of which changes the channels."""
    sizes = [channels_in] + [channels_out] * blocks
    return nn.Sequential(
        *(ResnetBlock(a, b, bias=False, groups=groups) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    )


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/f, W/f), f = 2^(levels - 1)."""

    def __init__(self, config: MAGVIT2Config, code_channels: int, image_channels: int) -> None:
        super().__init__()
        channels, multipliers, blocks, groups = config.channels, config.multipliers, config.blocks, config.norm_groups
        sizes = [channels * m for m in (1, *multipliers)]
        last = len(multipliers) - 1
        self.stem = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(residual_blocks(sizes[i], sizes[i + 1], blocks, groups) for i in range(last + 1))
        self.down = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in sizes[1:-1])
        self.middle = residual_blocks(sizes[-1], sizes[-1], blocks, groups)
        self.norm = group_norm(sizes[-1], groups)
        self.head = nn.Conv2d(sizes[-1], code_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for level, down in zip(self.levels, [*self.down, nn.Identity()], strict=True):
            x = down(level(x))
        return self.head(F.silu(self.norm(self.middle(x))))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w), levels from the lowest up."""

    def __init__(self, config: MAGVIT2Config, code_channels: int, image_channels: int) -> None:
        super().__init__()
        channels, multipliers, blocks, groups = config.channels, config.multipliers, config.blocks, config.norm_groups
        sizes = [channels * m for m in reversed((*multipliers, multipliers[-1]))]
        self.stem = nn.Conv2d(code_channels, sizes[0], 3, padding=1)
        self.middle = residual_blocks(sizes[0], sizes[0], blocks, groups)
        self.adaptive = nn.ModuleList(AdaptiveGroupNorm(c, code_channels, groups) for c in sizes[:-1])
        self.levels = nn.ModuleList(
            residual_blocks(a, b, blocks, groups) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.up = nn.ModuleList(DepthToSpaceUpsample(c) for c in sizes[1:-1])
        self.norm = group_norm(sizes[-1], groups)
        self.head = nn.Conv2d(sizes[-1], image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.middle(self.stem(quantized))
        for adaptive, level, up in zip(self.adaptive, self.levels, [*self.up, nn.Identity()], strict=True):
            x = up(level(adaptive(x, quantized)))
        return self.head(F.silu(self.norm(x)))


@architecture(MAGVIT2Config)
def build(config: MAGVIT2Config, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any image size."""
    settings = (config, code_channels, image_channels)
    return initialized(Encoder(*settings), Decoder(*settings), config.initialization)
