"""Settings of the tokenizers of the TiTok family: images to a row of tokens, and MaskGIT's autoencoder. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from tokbench.errors import shown

from .architecture import Architecture, ImageArchitecture, settings
from .base import Headed, Layers, Multipliers, Strict
from .grid import Grid, Size, typed


class MaskGITDecoderConfig(Strict):
    """MaskGIT-VQ's decoder, levels counted from full resolution; the defaults are the published ImageNet model's."""

    channels: PositiveInt = Field(128, description="channels at full resolution")
    multipliers: Multipliers = (1, 1, 2, 2, 4)
    blocks: Layers = Field(2, description="residual blocks per level, and in the middle")
    latent_channels: PositiveInt = 256
    norm_groups: PositiveInt = Field(32, description="groups of every GroupNorm, or the next fewer that divide")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)


@settings
class MaskGITConfig(ImageArchitecture, MaskGITDecoderConfig):
    """MaskGIT's VQ-GAN: no attention, average pooling (Chang et al. 2022, arXiv:2202.04200; as in open-muse)."""

    architecture: Literal["maskgit"] = "maskgit"

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    @property
    def default_code_channels(self) -> int:
        return self.latent_channels


class TransformerConfig(Headed):
    """Of the encoder or the decoder: plain pre-norm blocks whose MLP is four times as wide."""

    width: PositiveInt
    depth: Layers
    heads: PositiveInt


SIZES = {
    "small": TransformerConfig(width=512, depth=8, heads=8),
    "base": TransformerConfig(width=768, depth=12, heads=12),
    "large": TransformerConfig(width=1024, depth=24, heads=16),
}
"""The S, B and L of arXiv:2406.07550 (bytedance/1d-tokenizer ``modeling/modules/blocks.py``)."""


def _by_name(value: Any) -> Any:
    if isinstance(value, str) and value not in SIZES:
        raise ValueError(f"{shown(value)} is not a size; {', '.join(SIZES)}, or width, depth and heads")
    return SIZES[value] if isinstance(value, str) else value


Sized = Annotated[TransformerConfig, BeforeValidator(_by_name)]
"""A transformer by the name of its size, or by its numbers."""


class CodeHeadConfig(Strict):
    """A decoder that says codes of MaskGIT-VQ, as TiTok's two stages have it, whose vectors go through that decoder."""

    codes: PositiveInt = 1024
    vectors: Literal["mean", "likeliest"] = Field(
        "mean",
        description="of a patch: the mean of all (the second stage's) or that of the likeliest code (the first's)",
    )
    pixels: MaskGITDecoderConfig | None = Field(
        MaskGITDecoderConfig(),
        description="MaskGIT-VQ's decoder; empty: a first stage without it, which encodes and gives no images",
    )


@settings
class TiTokConfig(Architecture):
    """TiTok: an image to ``tokens`` latents in a row, learned queries beside its patches (Yu et al. 2024,
    arXiv:2406.07550); with ``tail_drop`` One-D-Piece (Miwa et al. 2025, arXiv:2501.10064).

    Images have the size that the tokenizer was made for: its decoder knows no other.
    """

    architecture: Literal["titok"] = "titok"
    any_size = False
    tokens: PositiveInt = Field(32, description="latent queries: the positions of an image, whatever its size")
    patch_size: PositiveInt = Field(8, description="pixels a side of the encoder's patches and of the decoder's")
    encoder: Sized = Field(SIZES["small"], description="small, base, large, or width, depth and heads")
    decoder: Sized = Field(SIZES["small"], description="the same of the decoder")
    tail_drop: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="share of the training batches of which only the first tokens are kept, as many as chance says, so "
        "that any first tokens decode (One-D-Piece: 1)",
    )
    initialization: Literal["local", "published"] = Field(
        "local",
        description="local: attention begins by nearness, so that one stage learns; published: places are noise",
    )
    code_head: CodeHeadConfig | None = Field(None, description="of published two-stage models; empty: pixels at once")
    mixed_latents: bool = Field(
        False, description="channels and tokens change places before the codes, a slip that older published models keep"
    )

    @model_validator(mode="after")
    def _pixels_fit(self) -> TiTokConfig:
        head = self.code_head
        if head and head.pixels and 2 ** (len(head.pixels.multipliers) - 1) != self.patch_size:
            levels = len(head.pixels.multipliers)
            raise ValueError(
                f"code_head.pixels has {levels} levels, patches of {2 ** (levels - 1)}, and patch_size is "
                f"{self.patch_size}"
            )
        return self

    @property
    def factors(self) -> Grid:
        return (self.patch_size, self.patch_size)

    def grid(self, size: Size) -> Grid:
        patches = super().grid(size)
        if self.tokens > patches[0] * patches[1]:
            few = f"{typed(size)} has {patches[0] * patches[1]} patches of {self.patch_size}"
            raise ValueError(
                f"{few}, fewer than the {self.tokens} latent queries; set model.tokens or model.patch_size lower"
            )
        return (self.tokens,)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """With tail drop 8, 16, 32 ... tokens and all of them; of fewer than 9 tokens 1, 2, 4 ..."""
        first = 3 if self.tokens > 8 else 0
        shorter = [2**n for n in range(first, self.tokens.bit_length()) if 2**n < self.tokens]
        return (*shorter, self.tokens) if self.tail_drop else ()

    @property
    def reduction(self) -> str:
        return f"{self.tokens} tokens"

    @property
    def default_code_channels(self) -> int:
        return 12  # token_size of every release but SL-256 and the BL and KL ones
