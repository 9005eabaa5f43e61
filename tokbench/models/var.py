"""VAR's encoder and decoder (arXiv:2404.02905): VQ-GAN's modules, and convolutions of 3x3 to and from the codes.
Infinity's (arXiv:2412.04431) have neither those nor attention."""

from __future__ import annotations

from torch import Tensor, nn

from tokbench.config.grid import Size
from tokbench.config.model import VARConfig

from . import vqgan
from .blocks import initialized
from .registry import architecture


class Decoder(vqgan.Decoder):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, f*h, f*w)."""

    clamp = False  # to [-1, 1] in evaluation

    def forward(self, quantized: Tensor) -> Tensor:
        images = super().forward(quantized)
        return images.clamp(-1, 1) if self.clamp and not self.training else images


@architecture(VARConfig)
def build(config: VARConfig, size: Size, code_channels: int, image_channels: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of ``config``, for images of any size."""
    settings = (config, size, code_channels, image_channels, config.code_kernel)
    encoder, decoder = vqgan.Encoder(*settings), Decoder(*settings)
    decoder.clamp = config.clamp
    return initialized(encoder, decoder, config.initialization)
