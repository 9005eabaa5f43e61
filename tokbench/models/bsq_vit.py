"""BSQ-ViT's encoder and decoder for images (arXiv:2406.07548, section 4): transformers on patches, one linear map to
the codes. Values equal those of zhaoyue-zephyrus/bsq-vit."""

from __future__ import annotations

from typing import Literal

from einops import rearrange
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn

from tokbench.config.grid import Grid, Size
from tokbench.config.model import ViTConfig

from . import vit
from .registry import architecture


class BSQViTConfig(ViTConfig):
    """BSQ-ViT's transformers on patches, normalised before the first block (Zhao et al. 2024, arXiv:2406.07548)."""

    architecture: Literal["bsq-vit"] = "bsq-vit"  # type: ignore[assignment]
    head_width: NonNegativeInt = Field(3072, description="of the tanh layer before the pixels; 0: none")

    @property
    def default_code_channels(self) -> int:
        return 18


class Transformer(vit.Transformer):
    """Positions, a norm, pre-norm blocks and a norm on a map (B, H, W, C)."""

    def __init__(self, config: BSQViTConfig, depth: int, grid: Grid) -> None:
        super().__init__(config, depth, grid, epsilon=1e-5)
        self.norm_in = nn.LayerNorm(config.width)


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/p, W/p)."""

    def __init__(self, config: BSQViTConfig, grid: Grid, code_channels: int, image_channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(image_channels, config.width, config.patch_size, config.patch_size, bias=False)
        self.transformer = Transformer(config, config.depth, grid)
        self.to_code = nn.Linear(config.width, code_channels)

    def forward(self, images: Tensor) -> Tensor:
        x = rearrange(self.patches(images), "b c h w -> b h w c")
        return rearrange(self.to_code(self.transformer(x)), "b h w c -> b c h w")


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, p*h, p*w)."""

    def __init__(self, config: BSQViTConfig, grid: Grid, code_channels: int, image_channels: int) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.from_code = nn.Linear(code_channels, config.width)
        self.transformer = Transformer(config, config.decoder_depth or config.depth, grid)
        hidden = config.head_width
        self.head = nn.Sequential(nn.Linear(config.width, hidden), nn.Tanh()) if hidden else nn.Sequential()
        self.pixels = nn.Linear(hidden or config.width, image_channels * config.patch_size**2)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the linear layer that makes the patches' pixels."""
        return self.pixels.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.transformer(self.from_code(rearrange(quantized, "b c h w -> b h w c")))
        p = self.patch_size
        return rearrange(self.pixels(self.head(x)), "b h w (c ph pw) -> b c (h ph) (w pw)", ph=p, pw=p)


@architecture(BSQViTConfig)
def build(config: BSQViTConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``, positions for ``size``."""
    settings = (config, config.grid(size), code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
