"""MaskBit's VQGAN+ (arXiv:2409.16211): MaskGIT's VQ-GAN that halves by convolutions; its older form averages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokbench.config.base import Layers
from tokbench.config.grid import Size
from tokbench.config.titok_model import MaskGITConfig

from .blocks import Downsample
from .maskgit import Decoder, Encoder, average
from .registry import architecture


class MaskBitConfig(MaskGITConfig):
    """MaskBit's VQGAN+ (Weber et al. 2024, arXiv:2409.16211; markweberdev/maskbit)."""

    architecture: Literal["maskbit"] = "maskbit"  # type: ignore[assignment]
    strided: bool = Field(True, description="halve by convolutions; false: by averages")
    decoder_blocks: Layers | None = Field(None, description="of the decoder's levels and middle; empty: as `blocks`")


@architecture(MaskBitConfig)
def build(config: MaskBitConfig, _: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``, for images of any size."""
    decoder = config.model_copy(update={"blocks": config.decoder_blocks or config.blocks})
    halve = Downsample if config.strided else average
    return Encoder(config, code_channels, image_channels, halve), Decoder(decoder, code_channels, image_channels)
