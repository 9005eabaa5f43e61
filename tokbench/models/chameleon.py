"""Chameleon's image tokenizer (arXiv:2405.09818): VQ-GAN's modules, of which transformers has the encoder alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.model import VQGANConfig

from . import vqgan
from .blocks import initialized
from .registry import architecture


class ChameleonConfig(VQGANConfig):
    """Chameleon's VQ-GAN, after Make-A-Scene (Chameleon Team 2024, arXiv:2405.09818)."""

    architecture: Literal["chameleon"] = "chameleon"  # type: ignore[assignment]
    decoder: bool = Field(True, description="false: the encoder alone, as published, which gives codes and no images")


class NoDecoder(nn.Module):
    """In the place of one that was not published."""

    why = "this tokenizer is an encoder alone, as published: it gives codes, not images"

    @property
    def last_layer(self) -> Tensor:
        raise ValueError(self.why)

    def forward(self, quantized: Tensor) -> Tensor:
        raise ValueError(self.why)


@architecture(ChameleonConfig)
def build(config: ChameleonConfig, size: Size, code_channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of ``config``; ``size`` decides which levels have attention."""
    settings = (config, size, code_channels, image_channels)
    decoder = vqgan.Decoder(*settings) if config.decoder else NoDecoder()
    return initialized(vqgan.Encoder(*settings), decoder, config.initialization)
