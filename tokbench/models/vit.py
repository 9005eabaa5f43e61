"""ViT-VQGAN's encoder and decoder (arXiv:2110.04627, section 3.1): transformers on patches, built on timm's blocks.

Each side ends in a two-layer network with a tanh between, as the paper has it. Positions are learned on the grid of
the configured image size and interpolated for others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokbench.config.grid import Grid, Size
from tokbench.config.model import ViTConfig

from .registry import architecture


class Positions(nn.Module):
    """Learned positions of a grid (h, w), added to a map (B, H, W, C); bicubic in between for other grids."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid = nn.Parameter(torch.empty(1, width, *grid))
        nn.init.trunc_normal_(self.grid, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        grid: Tensor = self.grid
        if x.shape[1:3] != grid.shape[2:]:
            grid = F.interpolate(grid.float(), size=tuple(x.shape[1:3]), mode="bicubic", antialias=True)
        return x + grid.permute(0, 2, 3, 1).to(x.dtype)


def through(blocks: nn.ModuleList, x: Tensor, recompute: bool, *given: Any) -> Tensor:
    """``x`` through the blocks one after the other, each given the rest too; ``recompute``: without keeping what only
    the gradient needs."""
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, *given, use_reentrant=False)
        else:
            x = block(x, *given)
    return x


class Transformer(nn.Module):
    """Positions, pre-norm blocks, whose norms have ``epsilon``, and a final norm on a map (B, H, W, C)."""

    looks_everywhere = True  # see ``tokbench.models.extent``

    def __init__(self, config: ViTConfig, depth: int, grid: Grid, epsilon: float = 1e-6) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        width, norm = config.width, partial(nn.LayerNorm, eps=epsilon)
        self.positions = Positions(grid, width)
        self.norm_in: nn.Module = nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, qkv_bias=True, proj_drop=config.dropout, norm_layer=norm)  # type: ignore[arg-type]
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[1]
        x = rearrange(self.norm_in(self.positions(x)), "b h w c -> b (h w) c")
        x = through(self.blocks, x, self.checkpointing and self.training)
        return rearrange(self.norm(x), "b (h w) c -> b h w c", h=height)


def tanh_head(width: int, out: int) -> nn.Sequential:
    """The paper's output projection: two linear layers with a tanh between."""
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/p, W/p)."""

    def __init__(self, config: ViTConfig, grid: Grid, code_channels: int, image_channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(image_channels, config.width, config.patch_size, stride=config.patch_size)
        self.transformer = Transformer(config, config.depth, grid)
        self.to_code = tanh_head(config.width, code_channels)

    def forward(self, images: Tensor) -> Tensor:
        x = rearrange(self.patches(images), "b c h w -> b h w c")
        return rearrange(self.to_code(self.transformer(x)), "b h w c -> b c h w")


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, p*h, p*w)."""

    def __init__(self, config: ViTConfig, grid: Grid, code_channels: int, image_channels: int) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.from_code = nn.Linear(code_channels, config.width)
        self.transformer = Transformer(config, config.decoder_depth or config.depth, grid)
        self.head = tanh_head(config.width, image_channels * config.patch_size**2)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the linear layer that makes the patches' pixels."""
        weight = self.head[-1].weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.from_code(rearrange(quantized, "b c h w -> b h w c"))
        p, x = self.patch_size, self.head(self.transformer(x))
        return rearrange(x, "b h w (c ph pw) -> b c (h ph) (w pw)", ph=p, pw=p)


@architecture(ViTConfig)
def build(config: ViTConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``, positions for ``size``."""
    settings = (config, config.grid(size), code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
