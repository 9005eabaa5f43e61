"""GigaTok's encoder and decoder (arXiv:2504.08736): convolutions to a map, queries that read it into a row of tokens,
queries that read the tokens into a map, and convolutions back. Values equal those of SilentView/GigaTok
``VQVitModelPlus``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import BeforeValidator, Field, PositiveInt, model_validator
from torch import Tensor, nn

from tokbench.config.architecture import Architecture
from tokbench.config.base import Layers, Multipliers
from tokbench.config.grid import Grid, Size, typed
from tokbench.config.titok_model import TransformerConfig
from tokbench.errors import shown

from .blocks import AdaptiveGroupNorm, DepthToSpaceUpsample, Downsample, group_norm
from .registry import architecture
from .vit import through
from .vqgan import Level, middle

SIZES = {
    "small": TransformerConfig(width=512, depth=6, heads=8),
    "base": TransformerConfig(width=768, depth=12, heads=12),
    "large": TransformerConfig(width=1024, depth=24, heads=16),
    "xl": TransformerConfig(width=1280, depth=36, heads=20),
    "xxl": TransformerConfig(width=1536, depth=48, heads=24),
}
"""The S, B, L, XL and XXL of arXiv:2504.08736 (``tokenizer/tokenizer_image/vq/blocks.py``)."""


def _by_name(value: Any) -> Any:
    if isinstance(value, str) and value not in SIZES:
        raise ValueError(f"{shown(value)} is not a size; {', '.join(SIZES)}, or width, depth and heads")
    return SIZES[value] if isinstance(value, str) else value


Sized = Annotated[TransformerConfig, BeforeValidator(_by_name)]


class GigaTokConfig(Architecture):
    """GigaTok: an image to ``tokens`` latents in a row (Xiong et al. 2025, arXiv:2504.08736). Their queries begin as
    means over ever smaller parts of the map. Images have the size that the tokenizer was made for.
    """

    architecture: Literal["gigatok"] = "gigatok"
    any_size = False
    channels: PositiveInt = Field(128, description="of the convolutions at full resolution")
    multipliers: Multipliers = Field((1, 1, 2, 2, 4), description="channels of each level, in units of `channels`")
    blocks: Layers = Field(2, description="residual blocks per level; the decoder has one more")
    latent_channels: PositiveInt = Field(256, description="of the two maps and of the tokens")
    tokens: PositiveInt = Field(256, description="positions of an image, a power of two")
    encoder: Sized = Field(SIZES["small"], description="small, base, large, xl, xxl, or width, depth and heads")
    decoder: Sized = Field(SIZES["small"], description="the same of the decoder")
    norm_groups: PositiveInt = Field(32, description="groups of every GroupNorm, or the next fewer that divide")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="of the convolutions' blocks")

    @model_validator(mode="after")
    def _halved_each_time(self) -> GigaTokConfig:
        if self.tokens & (self.tokens - 1):
            raise ValueError(f"tokens {self.tokens} is not a power of two")
        return self

    @property
    def factors(self) -> Grid:
        factor = 2 ** (len(self.multipliers) - 1)
        return (factor, factor)

    def map(self, size: Size) -> Grid:
        """Of the convolutions, which the queries read and make again."""
        return super().grid(size)

    def grid(self, size: Size) -> Grid:
        height, width = self.map(size)
        rows, columns = parts(self.tokens)[-1]
        if height % rows or width % columns:
            raise ValueError(
                f"{typed(size)} has a map of {height}x{width}, which does not divide into the {rows}x{columns} parts "
                f"that {self.tokens} tokens begin with; set model.tokens lower"
            )
        return (self.tokens,)

    @property
    def default_code_channels(self) -> int:
        return 8


def parts(tokens: int) -> list[tuple[int, int]]:
    """(rows, columns) that a map is divided into for each group of queries: 1x1, 1x1, 1x2, 2x2, 2x4 ..."""
    levels = range(tokens.bit_length() - 1)
    return [(1, 1), *((2 ** (level // 2), 2 ** ((level + 1) // 2)) for level in levels)]


class QueryBlock(nn.Module):
    """Queries attend to each other, then to a memory, then an MLP four times as wide; every time normalised before.

    Places are added to what is compared, never to what is read.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.reading = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, queries: Tensor, memory: Tensor, places: Tensor, memory_places: Tensor) -> Tensor:
        x = self.norm1(queries)
        queries = queries + self.among(x + places, x + places, x, need_weights=False)[0]
        x = self.norm2(queries)
        queries = queries + self.reading(x + places, memory + memory_places, memory, need_weights=False)[0]
        return queries + self.fc2(F.gelu(self.fc1(self.norm3(queries))))


class Reader(nn.Module):
    """Queries (B, Q, W) read a memory of ``channels`` (B, M, channels); they leave normalised."""

    def __init__(self, config: TransformerConfig, channels: int, queries: int, memory: int) -> None:
        super().__init__()
        width = config.width
        self.norm_in, self.embed = nn.LayerNorm(channels), nn.Linear(channels, width)
        self.places = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.memory_places = nn.Parameter(torch.randn(memory, width) * width**-0.5)
        self.blocks = nn.ModuleList(QueryBlock(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.checkpointing = False

    def embedded(self, memory: Tensor) -> Tensor:
        """(B, M, channels) -> (B, M, W)."""
        return self.embed(self.norm_in(memory))

    def forward(self, queries: Tensor, embedded: Tensor) -> Tensor:
        given = (embedded, self.places.to(embedded.dtype), self.memory_places.to(embedded.dtype))
        return self.norm(through(self.blocks, queries, self.checkpointing and self.training, *given))


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) of the configured size to latents (B, code_channels, N)."""

    def __init__(self, config: GigaTokConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in (1, *config.multipliers)]
        self.map, self.parts = config.map(size), parts(config.tokens)
        settings = (config.blocks, config.dropout, config.norm_groups, False)
        self.stem = nn.Conv2d(image_channels, config.channels, 3, padding=1)
        resamples = [*(Downsample(c) for c in sizes[1:-1]), nn.Identity()]
        self.levels = nn.ModuleList(
            Level(a, b, *settings, resample) for a, b, resample in zip(sizes[:-1], sizes[1:], resamples, strict=True)
        )
        self.middle = middle(sizes[-1], config.dropout, config.norm_groups, attention=False)
        self.norm = group_norm(sizes[-1], config.norm_groups)
        self.head = nn.Conv2d(sizes[-1], config.latent_channels, 3, padding=1)
        self.reader = Reader(config.encoder, config.latent_channels, config.tokens, self.map[0] * self.map[1])
        self.queries = nn.Linear(config.encoder.width, config.encoder.width)
        self.to_latent = nn.Linear(config.encoder.width, config.latent_channels)
        self.to_code = nn.Linear(config.latent_channels, code_channels)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for level in self.levels:
            x = level(x)
        x = self.head(F.silu(self.norm(self.middle(x))))
        memory = self.reader.embedded(rearrange(x, "b c h w -> b (h w) c"))
        read = self.reader(self.queries(self._means(memory)), memory)
        return rearrange(self.to_code(self.to_latent(read)), "b n c -> b c n")

    def _means(self, memory: Tensor) -> Tensor:
        """(B, h*w, W) -> (B, N, W): over the whole map twice, then over its halves, quarters, eighths."""
        height, width = self.map
        x = rearrange(memory, "b (h w) c -> b c h w", h=height)
        means = [F.avg_pool2d(x, (height // rows, width // columns)).flatten(2) for rows, columns in self.parts]
        return torch.cat(means, dim=-1).transpose(1, 2)


class Decoder(nn.Module):
    """Quantized tokens (B, code_channels, N) to images (B, image_channels, H, W) of the configured size.

    The queries of the map all begin as the first token, which stands for the whole image.
    """

    def __init__(self, config: GigaTokConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__()
        sizes = [config.channels * m for m in reversed((*config.multipliers, config.multipliers[-1]))]
        latent, self.map = config.latent_channels, config.map(size)
        settings = (config.blocks + 1, config.dropout, config.norm_groups, False)
        self.from_code = nn.Linear(code_channels, latent)
        self.reader = Reader(config.decoder, latent, self.map[0] * self.map[1], config.tokens)
        self.to_map = nn.Conv2d(config.decoder.width, latent, 3, padding=1)
        self.stem = nn.Conv2d(latent, sizes[0], 3, padding=1)
        self.middle = middle(sizes[0], config.dropout, config.norm_groups, attention=False)
        self.adaptive = nn.ModuleList(AdaptiveGroupNorm(c, latent, config.norm_groups) for c in sizes[:-1])
        resamples = [*(DepthToSpaceUpsample(c) for c in sizes[1:-1]), nn.Identity()]
        self.levels = nn.ModuleList(
            Level(a, b, *settings, resample) for a, b, resample in zip(sizes[:-1], sizes[1:], resamples, strict=True)
        )
        self.norm = group_norm(sizes[-1], config.norm_groups)
        self.head = nn.Conv2d(sizes[-1], image_channels, 3, padding=1)

    @property
    def last_layer(self) -> Tensor:
        """The weight of the convolution that makes the image."""
        return self.head.weight

    def forward(self, quantized: Tensor) -> Tensor:
        memory = self.reader.embedded(self.from_code(rearrange(quantized, "b c n -> b n c")))
        read = self.reader(memory[:, :1].expand(-1, self.map[0] * self.map[1], -1), memory)
        seen = self.to_map(rearrange(read, "b (h w) c -> b c h w", h=self.map[0]))
        x = self.middle(self.stem(seen))
        for adaptive, level in zip(self.adaptive, self.levels, strict=True):
            x = level(adaptive(x, seen))
        return self.head(F.silu(self.norm(x)))


@architecture(GigaTokConfig)
def build(config: GigaTokConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config`` for images of ``size``."""
    settings = (config, size, code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
