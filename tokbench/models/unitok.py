"""UniTok's encoder and decoder (arXiv:2502.20321): ViTamin's convolutions and transformer, and their mirror image.

Values equal those of FoundationVision/UniTok ``models/unitok.py`` without its text side. Positions are what the
convolutions' zero padding tells, so any size works.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from einops import rearrange
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from tokbench.config.architecture import ImageArchitecture
from tokbench.config.base import Headed, Layers
from tokbench.config.grid import Size

from .blocks import Recomputed
from .registry import architecture
from .vit import through


class UniTokConfig(ImageArchitecture, Headed):
    """UniTok's hybrid of convolutions and a transformer, f16 (Ma et al. 2025, arXiv:2502.20321); the defaults are its
    published Large."""

    architecture: Literal["unitok"] = "unitok"
    channels: tuple[PositiveInt, PositiveInt] = Field((160, 320), description="at a half and a quarter of the sides")
    blocks: tuple[Layers, Layers] = Field((2, 4), description="convolutional blocks of these two levels")
    width: PositiveInt = Field(1024, description="of the transformers, at a sixteenth of the sides")
    depth: Layers = 31
    heads: PositiveInt = 16
    mlp_ratio: float = Field(2.0, gt=0)
    code_heads: PositiveInt = Field(16, description="of the attention that maps to the codes' channels and from them")

    @model_validator(mode="after")
    def _code_heads_divide(self) -> UniTokConfig:
        if self.width % self.code_heads:
            raise ValueError(f"width {self.width} is not a multiple of code_heads {self.code_heads}")
        return self

    @property
    def downsampling(self) -> int:
        return 16

    @property
    def default_code_channels(self) -> int:
        return 64


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GatedMLP(nn.Module):
    """A norm, then GELU of one linear map times another, and a third; as one of timm's ``mlp_layer``."""

    def __init__(self, in_features: int, hidden_features: int, **_: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_features, eps=1e-6)
        self.w0 = nn.Linear(in_features, hidden_features)
        self.w1 = nn.Linear(in_features, hidden_features)
        self.w2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.w2(F.gelu(self.w0(x), approximate="tanh") * self.w1(x))


def upsample(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double the sides by repeating each position, then a 3x3 convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(channels_in, channels_out, 3, padding=1))


class Bottleneck(Recomputed):
    """Norm, 1x1 convolution to four times the channels, one of every channel alone, 1x1 back, added to the input.

    ``resize`` halves or doubles the sides.
    """

    def __init__(self, channels_in: int, channels_out: int, resize: Literal["", "halve", "double"] = "") -> None:
        super().__init__()
        wide, same = 4 * channels_out, channels_in == channels_out
        stride = 2 if resize == "halve" else 1
        self.norm = ChannelNorm(channels_in)
        self.widen = nn.Conv2d(channels_in, wide, 1)
        self.up = upsample(wide, wide) if resize == "double" else nn.Identity()
        self.alone = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide)
        self.narrow = nn.Conv2d(wide, channels_out, 1)
        expand: nn.Module = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)
        if resize == "halve":
            expand = nn.Sequential(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), expand)
        self.shortcut = upsample(channels_in, channels_out) if resize == "double" else expand

    def _forward(self, x: Tensor) -> Tensor:
        h = self.up(F.gelu(self.widen(self.norm(x))))
        return self.narrow(F.gelu(self.alone(h))) + self.shortcut(x)


class Transformer(nn.Module):
    """Pre-norm blocks with gated MLPs and a final norm on (B, T, W)."""

    looks_everywhere = True  # see ``tokbench.models.extent``

    def __init__(self, config: UniTokConfig) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.heads,
                config.mlp_ratio,
                qkv_bias=True,
                norm_layer=norm,  # type: ignore[arg-type]
                mlp_layer=GatedMLP,  # type: ignore[arg-type]
            )
            for _ in range(config.depth)
        )
        self.norm = norm(config.width)
        self.checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(through(self.blocks, x, self.checkpointing and self.training))


class CodeProjection(nn.Module):
    """(B, T, channels_in) -> (B, T, channels_out) by attention beside a linear map, then a gated MLP.

    On the way to fewer channels the heads are averaged, on the way to more they lie side by side.
    """

    def __init__(self, channels_in: int, channels_out: int, heads: int) -> None:
        super().__init__()
        self.heads, self.channels_out, self.fewer = heads, channels_out, channels_in > channels_out
        inner = max(channels_in, channels_out)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(c) for c in (channels_in, channels_out, channels_in))
        self.qkv = nn.Linear(channels_in, 3 * inner)
        self.out = nn.Linear(channels_out, channels_out)
        self.proj = nn.Linear(channels_in, channels_out)
        self.mlp = GatedMLP(channels_out, 2 * channels_out)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b t (three h c) -> three b h t c", three=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        if self.fewer:
            attended = attended.mean(dim=1)
            if attended.shape[-1] != self.channels_out:
                attended = F.adaptive_avg_pool1d(attended, self.channels_out)
        else:
            attended = rearrange(attended, "b h t c -> b t (h c)")
        x = self.proj(self.norm3(x)) + self.out(attended)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) to latents (B, code_channels, H/16, W/16)."""

    def __init__(self, config: UniTokConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        first, second = config.channels
        sizes = (first, first, second)
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, first, 3, 2, padding=1),
            ChannelNorm(first),
            nn.GELU(),
            nn.Conv2d(first, first, 3, padding=1),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(*(Bottleneck(*((a, b, "halve") if j == 0 else (b, b))) for j in range(blocks)))
            for a, b, blocks in zip(sizes[:-1], sizes[1:], config.blocks, strict=True)
        )
        self.pool = nn.Sequential(ChannelNorm(second), nn.Conv2d(second, config.width, 3, 2, padding=1))
        self.transformer = Transformer(config)
        self.to_code = CodeProjection(config.width, code_channels, config.code_heads)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for level in self.levels:
            x = level(x)
        x = self.pool(x)
        latents = self.to_code(self.transformer(rearrange(x, "b c h w -> b (h w) c")))
        return rearrange(latents, "b (h w) c -> b c h w", h=x.shape[2])


class Decoder(nn.Module):
    """Quantized latents (B, code_channels, h, w) to images (B, image_channels, 16*h, 16*w)."""

    def __init__(self, config: UniTokConfig, code_channels: int, image_channels: int) -> None:
        super().__init__()
        first, second = config.channels
        few, many = config.blocks
        self.from_code = CodeProjection(code_channels, config.width, config.code_heads)
        self.transformer = Transformer(config)
        self.unpool = upsample(config.width, second)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Bottleneck(*((a, b, "double") if j == 0 else (b, b))) for j in range(blocks)))
            for a, b, blocks in ((second, second, many), (second, first, few))
        )
        self.up, self.norm = upsample(first, first), ChannelNorm(first)
        self.head = nn.Conv2d(first, image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        x = self.transformer(self.from_code(rearrange(quantized, "b c h w -> b (h w) c")))
        x = self.unpool(rearrange(x, "b (h w) c -> b c h w", h=quantized.shape[2]))
        for level in self.levels:
            x = level(x)
        return self.head(F.gelu(self.norm(self.up(x))))


@architecture(UniTokConfig)
def build(config: UniTokConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config``; any size."""
    settings = (config, code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
