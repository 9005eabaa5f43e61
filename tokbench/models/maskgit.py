"""MaskGIT's VQ-GAN (arXiv:2202.04200): VQ-GAN without attention, average pooling, few biases.

Values equal those of the PyTorch port (open-muse, bytedance/1d-tokenizer ``modeling/modules/maskgit_vqgan.py``), whose
networks see images in [0, 1]: here they come and go in [-1, 1] like all images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.titok_model import MaskGITConfig, MaskGITDecoderConfig

from .blocks import ResnetBlock, Stage, Upsample, group_norm
from .registry import architecture


class Block(ResnetBlock):
    """Without biases; where the channels change, the way past is a 1x1 of what the convolutions gave, as published."""

    def __init__(self, channels_in: int, channels_out: int, config: MaskGITDecoderConfig) -> None:
        super().__init__(channels_in, channels_out, config.dropout, bias=False, groups=config.norm_groups)
        if channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_out, channels_out, 1, bias=False)

    def _forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        h = self._branch(x)
        return h + (x if isinstance(self.shortcut, nn.Identity) else self.shortcut(h))


def level(channels_in: int, channels_out: int, config: MaskGITDecoderConfig, resample: nn.Module) -> Stage:
    """The blocks of one resolution, then ``resample``."""
    sizes = [channels_in] + [channels_out] * config.blocks
    return Stage([Block(a, b, config) for a, b in zip(sizes[:-1], sizes[1:], strict=True)], [], resample)


def average(channels: int) -> nn.Module:
    """Halves the sides of maps of any channels."""
    return nn.AvgPool2d(2)


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) in [-1, 1] to latents (B, code_channels, H/f, W/f), f = 2^(levels - 1)."""

    def __init__(
        self,
        config: MaskGITDecoderConfig,
        code_channels: int,
        image_channels: int,
        halve: Callable[[int], nn.Module] = average,
    ) -> None:
        super().__init__()
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        last = len(config.multipliers) - 1
        self.stem = nn.Conv2d(image_channels, config.channels, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(
            level(sizes[i], sizes[i + 1], config, halve(sizes[i + 1]) if i < last else nn.Identity())
            for i in range(last + 1)
        )
        self.middle = nn.Sequential(*(Block(sizes[-1], sizes[-1], config) for _ in range(config.blocks)))
        self.norm = group_norm(sizes[-1], config.norm_groups)
        self.to_code = nn.Conv2d(sizes[-1], code_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem((images + 1) / 2)
        for stage in self.levels:
            x = stage(x)
        return self.to_code(F.silu(self.norm(self.middle(x))))


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w), levels from the lowest up."""

    def __init__(self, config: MaskGITDecoderConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in config.multipliers]
        last = len(config.multipliers) - 1
        self.stem = nn.Conv2d(code_channels, sizes[-1], 3, padding=1)
        self.middle = nn.Sequential(*(Block(sizes[-1], sizes[-1], config) for _ in range(config.blocks)))
        self.levels = nn.ModuleList(
            level(sizes[min(i + 1, last)], sizes[i], config, Upsample(sizes[i]) if i > 0 else nn.Identity())
            for i in reversed(range(last + 1))
        )
        self.norm = group_norm(sizes[0], config.norm_groups)
        self.head = nn.Conv2d(sizes[0], image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.middle(self.stem(quantized))
        for stage in self.levels:
            x = stage(x)
        return self.head(F.silu(self.norm(x))) * 2 - 1


@architecture(MaskGITConfig)
def build(config: MaskGITConfig, _: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``, for images of any size."""
    return Encoder(config, code_channels, image_channels), Decoder(config, code_channels, image_channels)
