"""Cosmos' discrete image tokenizer (arXiv:2501.03575; NVIDIA/Cosmos-Tokenizer ``networks/discrete_image.py``): VQ-GAN's
blocks on wavelet patches, of whose levels only as many change the resolution as the compression wants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from tokbench.config.base import Multipliers
from tokbench.config.grid import Size, axes
from tokbench.config.model import VQGANConfig

from . import vqgan
from .blocks import initialized
from .patches2d import Patches2d, Unpatches2d
from .registry import architecture


class CosmosDIConfig(VQGANConfig):
    """Cosmos' discrete image tokenizer (NVIDIA 2025, arXiv:2501.03575): VQ-GAN's blocks on wavelet patches.

    The defaults are ``Cosmos-Tokenizer-DI16x16``'s.
    """

    architecture: Literal["cosmos-di"] = "cosmos-di"  # type: ignore[assignment]
    multipliers: Multipliers = (2, 4, 4)
    attention_resolutions: tuple[PositiveInt, ...] = ()
    patch_size: Literal[1, 2, 4, 8] = 4
    patch_method: Literal["haar", "rearrange"] = "haar"
    spatial_compression: Literal[1, 2, 4, 8, 16, 32, 64] = Field(16, description="pixels per side of a position")

    @model_validator(mode="after")
    def _compression_is_possible(self) -> CosmosDIConfig:
        most = self.patch_size * 2 ** (len(self.multipliers) - 1)
        if not self.patch_size <= self.spatial_compression <= most:
            raise ValueError(
                f"spatial_compression {self.spatial_compression} cannot be reached with patch_size {self.patch_size} "
                f"and {len(self.multipliers)} levels: {self.patch_size} to {most}"
            )
        return self

    @property
    def downsampling(self) -> int:
        return self.spatial_compression

    @property
    def halvings(self) -> int:
        """Of the patches' sides: after the encoder's first levels, and in the decoder after its first."""
        return (self.spatial_compression // self.patch_size).bit_length() - 1

    @property
    def default_code_channels(self) -> int:
        return 6

    def attention_levels(self, size: Size) -> tuple[int, ...]:
        """Levels (0 is the patches' resolution) whose feature maps have a side in ``attention_resolutions``."""
        sides = [side // self.patch_size for side in axes(size)]
        maps = [{side >> min(level, self.halvings) for side in sides} for level in range(len(self.multipliers))]
        return tuple(level for level, of in enumerate(maps) if not of.isdisjoint(self.attention_resolutions))


class Encoder(vqgan.Encoder):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/f, W/f), f the compression."""

    def __init__(self, config: CosmosDIConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels * config.patch_size**2)
        self.patches = Patches2d(config.patch_size, config.patch_method)
        for level in self.levels[config.halvings :]:
            level.resample = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.patches(images))


class Decoder(vqgan.Decoder):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w), from the lowest level."""

    def __init__(self, config: CosmosDIConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__(config, size, code_channels, image_channels * config.patch_size**2)
        self.unpatches = Unpatches2d(config.patch_size, config.patch_method)
        for level in self.levels[config.halvings :]:
            level.resample = nn.Identity()

    def forward(self, quantized: Tensor) -> Tensor:
        return self.unpatches(super().forward(quantized))


@architecture(CosmosDIConfig)
def build(config: CosmosDIConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; ``size`` decides which levels have attention."""
    settings = (config, size, code_channels, image_channels)
    return initialized(Encoder(*settings), Decoder(*settings), config.initialization)
