"""TiTok's encoder and decoder (arXiv:2406.07550): transformers from patches to a row of tokens and back.

The encoder reads the patches beside N learned queries, whose outputs are the latents. The decoder reads the N tokens
beside a learned mask for every patch, whose outputs are the patches. Values equal those of bytedance/1d-tokenizer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from quantizers.distributed import shared_generator
from quantizers.graphs import has_values
from tokbench.config.grid import Grid, Size, divided
from tokbench.config.titok_model import CodeHeadConfig, TiTokConfig, TransformerConfig

from . import titok_start as start
from .maskgit import Decoder as PixelDecoder
from .registry import architecture
from .vit import through


class Sequence(nn.Module):
    """A class token, one learned position for every patch, and pre-norm blocks; on (B, P, W) beside (B, n, W)."""

    def __init__(self, config: TransformerConfig, patches: int) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.width = width = config.width
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.positions = nn.Parameter(torch.empty(patches, width))
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, qkv_bias=True, norm_layer=nn.LayerNorm)  # type: ignore[arg-type]
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.checkpointing = False
        for token in (self.class_token, self.positions):
            nn.init.normal_(token, std=width**-0.5)

    def begin(self, tokens: Tensor, grid: Grid) -> None:
        """First values from which one stage learns, of the tokens (N, W) too; see :mod:`.titok_start`."""
        start.begin(self.positions, tokens, self.blocks, grid)

    def forward(self, patches: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Patches and tokens as they leave the last block, normalised; their shapes stay."""
        first = self.class_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        x = self.norm_in(torch.cat([first, patches + self.positions.to(patches.dtype), tokens], dim=1))
        x = self.norm(through(self.blocks, x, self.checkpointing and self.training))
        return x[:, 1 : 1 + len(self.positions)], x[:, 1 + len(self.positions) :]


class Encoder(nn.Module):
    """Images (B, image_channels, H, W) of the configured size to latents (B, code_channels, N)."""

    def __init__(self, config: TiTokConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__()
        self.mixed = config.mixed_latents
        patches = divided(size, config.factors)
        self.sequence = Sequence(config.encoder, math.prod(patches))
        width = self.sequence.width
        self.patches = nn.Conv2d(image_channels, width, config.patch_size, stride=config.patch_size)
        self.queries = nn.Parameter(torch.empty(config.tokens, width))
        self.to_code = nn.Linear(width, code_channels)
        nn.init.normal_(self.queries, std=width**-0.5)
        if config.initialization == "local":
            self.sequence.begin(self.queries, patches)
            start.what_alone(self.patches, self.to_code)

    def forward(self, images: Tensor) -> Tensor:
        patches = rearrange(self.patches(images), "b c h w -> b (h w) c")
        _, latents = self.sequence(patches, self.queries.to(patches.dtype).expand(patches.shape[0], -1, -1))
        if self.mixed:  # the published reshape without a permutation
            latents = latents.reshape(latents.shape[0], -1, latents.shape[1]).transpose(1, 2)
        return rearrange(self.to_code(latents), "b n c -> b c n")


class PixelHead(nn.Module):
    """Patches (B, P, W) to images of the grid (h, w) of patches: a linear map, then a 3x3 convolution on the image."""

    def __init__(self, width: int, grid: Grid, patch: int, image_channels: int) -> None:
        super().__init__()
        self.grid, self.patch = grid, patch
        self.linear = nn.Linear(width, patch * patch * image_channels)
        self.smooth = nn.Conv2d(image_channels, image_channels, 3, padding=1)
        nn.init.dirac_(self.smooth.weight)
        nn.init.zeros_(self.smooth.bias)  # type: ignore[arg-type]

    @property
    def last_layer(self) -> Tensor:
        return self.smooth.weight

    def forward(self, x: Tensor) -> Tensor:
        (h, _), p = self.grid, self.patch
        pixels = rearrange(self.linear(x), "b (h w) (ph pw c) -> b c (h ph) (w pw)", h=h, ph=p, pw=p)
        return self.smooth(pixels)


class CodeHead(nn.Module):
    """Patches (B, P, W) to logits of MaskGIT-VQ's codes, whose mean vector or likeliest goes through its decoder."""

    def __init__(self, width: int, grid: Grid, config: CodeHeadConfig, image_channels: int) -> None:
        super().__init__()
        self.grid, self.mean = grid, config.vectors == "mean"
        self.linear = nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, config.codes))
        if config.pixels is not None:
            channels = config.pixels.latent_channels
            self.codebook = nn.Parameter(torch.empty(config.codes, channels).uniform_(-1, 1).div_(config.codes))
            self.pixels = PixelDecoder(config.pixels, channels, image_channels)
        self.whole = config.pixels is not None

    @property
    def last_layer(self) -> Tensor:
        layer = self.pixels.last_layer if self.whole else self.linear[-1].weight
        assert isinstance(layer, Tensor)
        return layer

    def logits(self, x: Tensor) -> Tensor:
        """(B, codes, h, w)."""
        return rearrange(self.linear(x), "b (h w) k -> b k h w", h=self.grid[0])

    def forward(self, x: Tensor) -> Tensor:
        if not self.whole:
            raise ValueError(
                "a TiTok after its first stage gives codes of MaskGIT-VQ, not images: import it again with the weights "
                "of MaskGIT-VQ in its folder"
            )
        logits = self.logits(x)
        if self.mean:
            vectors = torch.einsum("bkhw,kc->bchw", logits.softmax(1), self.codebook)
        else:
            vectors = rearrange(self.codebook[logits.argmax(1)], "b h w c -> b c h w")
        return self.pixels(vectors)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Quantized tokens (B, code_channels, n) to images (B, image_channels, H, W) of the configured size.

    n is N, or with ``tail_drop`` any 1..N: what is left out is not in the sequence. In training the first n are kept,
    n by chance, one for the whole batch and for every process.
    """

    def __init__(self, config: TiTokConfig, size: Size, code_channels: int, image_channels: int) -> None:
        super().__init__()
        patches = divided(size, config.factors)
        self.tail_drop = config.tail_drop
        self.sequence = Sequence(config.decoder, math.prod(patches))
        width = self.sequence.width
        self.from_code = nn.Linear(code_channels, width)
        self.places = nn.Parameter(torch.empty(config.tokens, width))
        nn.init.normal_(self.places, std=width**-0.5)
        if config.initialization == "local":
            self.sequence.begin(self.places, patches)
            start.what_alone(self.from_code)
        head: Any = config.code_head
        self.head: PixelHead | CodeHead = (
            CodeHead(width, patches, head, image_channels)
            if head
            else PixelHead(width, patches, config.patch_size, image_channels)
        )

    @property
    def last_layer(self) -> Tensor:
        """The weight of the layer that makes the image."""
        return self.head.last_layer

    def forward(self, quantized: Tensor) -> Tensor:
        return self.head(self.patches(quantized))  # type: ignore[no-any-return]

    def patches(self, quantized: Tensor) -> Tensor:
        """What the head is given: (B, P, W)."""
        count, whole = quantized.shape[-1], len(self.places)
        if not 1 <= count <= whole or (count < whole and not self.tail_drop):
            most = f"1 to {whole}" if self.tail_drop else f"{whole}, since it was trained without model.tail_drop"
            raise ValueError(f"codes of {count} positions: the tokenizer decodes {most}")
        if self.tail_drop and self.training and has_values(quantized):  # of meta tensors all work is counted
            count = min(count, self._kept(whole, shared_generator(quantized.device)))
        tokens = self.from_code(rearrange(quantized[..., :count], "b c n -> b n c"))
        tokens = tokens + self.places[:count].to(tokens.dtype)
        blank = tokens.new_zeros(tokens.shape[0], len(self.sequence.positions), tokens.shape[-1])
        return self.sequence(blank, tokens)[0]  # type: ignore[no-any-return]

    def _kept(self, whole: int, generator: torch.Generator) -> int:
        """How many tokens this batch keeps."""
        if float(torch.rand((), generator=generator)) >= self.tail_drop:
            return whole
        return int(torch.randint(1, whole + 1, (), generator=generator))


@architecture(TiTokConfig)
def build(config: TiTokConfig, size: Size, code_channels: int, image_channels: int) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of ``config`` for images of ``size``."""
    settings = (config, size, code_channels, image_channels)
    return Encoder(*settings), Decoder(*settings)
