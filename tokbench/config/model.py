"""What a tokenizer is made of: one settings class an architecture, the quantizer, and the two together.

Torch-free. ``config.json`` beside a tokenizer's weights is a :class:`TokenizerConfig` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from . import titok_model, video_model  # noqa: F401  (which register their own)
from .architecture import ImageArchitecture, ModelConfig, settings
from .base import Grown, Headed, Layers, Multipliers, Strict
from .grid import Size, axes
from .kind import Kind


class _Convolutional(ImageArchitecture):
    """A pyramid of residual levels, each half the resolution of the one before."""

    channels: PositiveInt = Field(128, description="channels at full resolution")
    multipliers: Multipliers = Field((1, 1, 2, 2, 4), description="channels of each level, in units of `channels`")
    blocks: Layers = Field(2, description="residual blocks per level (taming's decoder has one more)")
    norm_groups: PositiveInt = Field(
        32,
        description="groups of every GroupNorm, or the next fewer that divide the channels; 32 as published, but with "
        "few channels a group of one loses the image's brightness, so small models want 8 or less",
    )

    initialization: Literal["default", "zero-residual"] = Field(
        "default",
        description="default: PyTorch's, as published; zero-residual: residual blocks start as the identity and the "
        "rest keeps the variance, which learns much faster in short runs",
    )

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


@settings
class VQGANConfig(_Convolutional):
    """VQ-GAN's encoder and decoder (Esser et al. 2021, arXiv:2012.09841; CompVis/taming-transformers)."""

    architecture: Literal["vqgan"] = "vqgan"
    attention_resolutions: tuple[PositiveInt, ...] = Field((16,), description="feature-map sides with attention")
    middle_attention: bool = Field(True, description="attention between the two middle blocks")
    latent_channels: PositiveInt = Field(256, description="taming's z_channels")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @property
    def default_code_channels(self) -> int:
        return self.latent_channels

    def attention_levels(self, size: Size) -> tuple[int, ...]:
        """Levels (0 is full resolution) whose feature maps have a side in ``attention_resolutions``."""
        maps = [{side // 2**level for side in axes(size)} for level in range(len(self.multipliers))]
        return tuple(level for level, sides in enumerate(maps) if not sides.isdisjoint(self.attention_resolutions))


@settings
class RQVAEConfig(VQGANConfig):
    """RQ-VAE's: VQ-GAN's blocks down to f32, attention at 8x8 (Lee et al. 2022, arXiv:2203.01941)."""

    architecture: Literal["rqvae"] = "rqvae"  # type: ignore[assignment]
    multipliers: Multipliers = (1, 1, 2, 2, 4, 4)
    attention_resolutions: tuple[PositiveInt, ...] = (8,)


@settings
class LlamaGenConfig(_Convolutional):
    """LlamaGen's: VQ-GAN's blocks, attention at the lowest level whatever the size (Sun et al., arXiv:2406.06525)."""

    architecture: Literal["llamagen"] = "llamagen"
    latent_channels: PositiveInt = 256
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    middle_attention: ClassVar[bool] = True

    @property
    def default_code_channels(self) -> int:
        return self.latent_channels

    def attention_levels(self, size: Size) -> tuple[int, ...]:
        """The lowest level only."""
        return (len(self.multipliers) - 1,)


@settings
class VARConfig(_Convolutional):
    """VAR's: VQ-GAN's blocks, attention at the lowest level (Tian et al. 2024, arXiv:2404.02905); without attention and
    the convolutions to and from the codes, Infinity's (Han et al. 2024, arXiv:2412.04431)."""

    architecture: Literal["var"] = "var"
    channels: PositiveInt = Field(160, description="channels at full resolution")
    latent_channels: PositiveInt = 32
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    attention: bool = Field(True, description="at the lowest level, after each block")
    middle_attention: bool = Field(True, description="between the two middle blocks")
    code_kernel: Literal[0, 1, 3] = Field(3, description="of the convolutions to and from the codes; 0: none")
    clamp: bool = Field(False, description="cut the decoder's images off at -1 and 1 in evaluation (Infinity's)")

    def attention_levels(self, size: Size) -> tuple[int, ...]:
        """The lowest level, or none."""
        return (len(self.multipliers) - 1,) if self.attention else ()

    @property
    def default_code_channels(self) -> int:
        return self.latent_channels


@settings
class MAGVIT2Config(_Convolutional):
    """MAGVIT-v2's image tokenizer: strided convolutions down, depth-to-space up, no attention, adaptive GroupNorm in
    the decoder (Yu et al. 2023, arXiv:2310.05737; the form of TencentARC/SEED-Voken Open-MAGVIT2)."""

    architecture: Literal["magvit2"] = "magvit2"
    blocks: Layers = Field(4, description="residual blocks per level, and in the middle")

    @property
    def default_code_channels(self) -> int:
        return 18


@settings
class ViTConfig(ImageArchitecture, Headed):
    """ViT-VQGAN's plain transformers on patches (Yu et al. 2022, arXiv:2110.04627); the defaults are its Base."""

    architecture: Literal["vit"] = "vit"
    patch_size: PositiveInt = 8
    width: PositiveInt = 768
    depth: Layers = 12
    heads: PositiveInt = 12
    decoder_depth: Layers | None = Field(None, description="empty: as deep as the encoder")
    mlp_ratio: float = Field(4.0, gt=0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @property
    def downsampling(self) -> int:
        return self.patch_size

    @property
    def default_code_channels(self) -> int:
        return 32  # the factorized codes of arXiv:2110.04627, section 3.2


_NUMBERS_OF = ("depth", "groups", "num_", "heads", "bits")  # in the names of options: what is built one by one


class QuantizerConfig(Strict):
    """A quantizer by name with its own keywords (``codebook_size``, ``depth``, ...), which its class checks."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @field_validator("name")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("the quantizer needs a name, for example rq")
        return value

    @model_validator(mode="after")
    def _not_endless(self) -> QuantizerConfig:
        for key, value in self.options.items():
            most = 1000 if any(word in key for word in _NUMBERS_OF) else 2**63 - 1  # codes are int64
            if isinstance(value, int) and abs(value) > most:
                raise ValueError(f"{key} is too large; the maximum is {most}")
            if not all(math.isfinite(number) for number in _floats(value)):
                raise ValueError(f"{key} must be finite, not {value}")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The keywords for ``quantizers.build(name, **options)``."""
        return dict(self.model_extra or {})


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _floats(part)


class TokenizerConfig(Grown):
    """An encoder, a quantizer and a decoder, and the image size they were made for (other sizes work too)."""

    image_size: Size = Field(description="pixels of the training images: a side, [H, W], or [T, H, W] of clips")
    channels: PositiveInt = Field(3, description="of the images, in and out: 3 is RGB, 1 grey; of labels the classes")
    kind: Kind = Field("image", description="labels: one-hot in, logits out; depth: in [-1, 1], as grey images are")
    model: ModelConfig
    quantizer: QuantizerConfig

    later = ("channels", "kind")

    @model_validator(mode="after")
    def _size_divides(self) -> TokenizerConfig:
        try:
            self.model.grid(self.image_size)
        except ValueError as error:
            raise ValueError(f"image_size {error}") from None
        return self
