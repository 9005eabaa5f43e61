"""Settings of the tokenizers of videos, which take images too: one class an architecture. Torch-free."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from .architecture import Architecture, settings
from .base import Layers, Multipliers
from .grid import Grid

Halvings = Annotated[tuple[bool, ...], Field(max_length=15)]


class VideoArchitecture(Architecture):
    """Causal: the first frame is a latent of its own, so that an image is a clip of one frame."""

    causal = True

    @property
    def frame_downsampling(self) -> int:
        """Frames that a latent stands for, but for the first latent, which stands for one."""
        raise NotImplementedError

    @property
    def downsampling(self) -> int:
        """Pixels per side that a latent stands for."""
        raise NotImplementedError

    @property
    def encodes_causally(self) -> bool:
        """Whether the first frames have the same codes whatever follows them."""
        return True

    @property
    def factors(self) -> Grid:
        return (self.frame_downsampling, self.downsampling, self.downsampling)


@settings
class MAGVIT2VideoConfig(VideoArchitecture):
    """MAGVIT-v2's causal tokenizer of videos and images (Yu et al. 2023, arXiv:2310.05737, figure 2).

    The defaults are the figure's, 17x128x128 to 5x16x16, in the exactly causal form of cofe-ai/O2-MAGVIT2.
    """

    architecture: Literal["magvit2-video"] = "magvit2-video"
    channels: PositiveInt = Field(128, description="channels at full resolution")
    multipliers: Multipliers = Field((1, 2, 2, 4), description="channels of each level, in units of `channels`")
    blocks: Layers = Field(4, description="residual blocks per level, and in the middle")
    halve_frames: Halvings = Field(
        (False, True, True),
        description="for each halving of the sides, from full resolution on, whether it halves the frames too; "
        "MAGVIT-v2 does so late (its table 5c)",
    )
    kernel_frames: Literal[1, 3] = Field(
        3, description="frames that a convolution sees; 1: each frame alone, as a tokenizer of images does"
    )
    norm_groups: PositiveInt = Field(32, description="groups of every GroupNorm, or the next fewer that divide")
    norm_over: Literal["frame", "clip"] = Field(
        "frame",
        description="what GroupNorm takes its statistics from; over the clip (TencentARC/SEED-Voken) nothing is causal",
    )
    norm_epsilon: float = Field(1e-6, gt=0, description="cofe-ai/O2-MAGVIT2: 1e-5")
    adaptive: Literal["position", "frame", "clip"] = Field(
        "position",
        description="what of the codes drives the decoder's adaptive GroupNorm: each position's (cofe-ai/O2-MAGVIT2), "
        "their deviation and mean over a frame (as in `magvit2`, so what an image tokenizer grows into), or over the "
        "clip (TencentARC/SEED-Voken), which is not causal",
    )
    padding: Literal["zeros", "first-frame"] = Field("zeros", description="what stands before the first frame")
    dropped_frame: Literal["first", "second"] = Field(
        "first",
        description="which of the two frames that upsampling makes of the first is left out; TencentARC/SEED-Voken: "
        "second",
    )
    stem_bias: bool = Field(True, description="of the first convolution; TencentARC/SEED-Voken: false")
    initialization: Literal["default", "zero-residual"] = Field(
        "default", description="default: PyTorch's; zero-residual: residual blocks start as the identity"
    )

    @model_validator(mode="after")
    def _one_for_each_halving(self) -> MAGVIT2VideoConfig:
        halvings = len(self.multipliers) - 1
        if len(self.halve_frames) != halvings:
            raise ValueError(
                f"halve_frames has {len(self.halve_frames)} entries for the {halvings} halvings of "
                f"{len(self.multipliers)} multipliers"
            )
        if self.kernel_frames == 1 and any(self.halve_frames):
            raise ValueError(
                "kernel_frames 1 sees each frame alone, so no level may halve them: set halve_frames to false"
            )
        return self

    @property
    def encodes_causally(self) -> bool:
        return self.norm_over == "frame"

    @property
    def frame_downsampling(self) -> int:
        """Frames that a latent stands for, but for the first latent, which stands for one."""
        return math.prod(self.frame_strides)

    @property
    def downsampling(self) -> int:
        return int(2 ** len(self.halve_frames))

    @property
    def default_code_channels(self) -> int:
        return 18

    @property
    def frame_strides(self) -> tuple[int, ...]:
        """Frames that become one, at each halving of the sides."""
        return tuple(2 if halved else 1 for halved in self.halve_frames)


@settings
class VidTokConfig(VideoArchitecture):
    """VidTok's causal tokenizer (Tang et al. 2024, arXiv:2412.13061): per-frame 2D blocks, then 1D blocks in time.

    The defaults are ``vidtok_fsq_causal_488``'s.
    """

    architecture: Literal["vidtok"] = "vidtok"
    channels: PositiveInt = 128
    multipliers: Multipliers = (1, 2, 4, 4)
    blocks: Layers = Field(2, description="residual blocks per level; the decoder has one more")
    down_frames: tuple[int, ...] = Field((1, 2), description="the encoder's levels after which the frames are halved")
    up_frames: tuple[int, ...] = Field((2, 1), description="the decoder's levels after which they are doubled")
    norm: Literal["layer", "group"] = Field("layer", description="over a position's channels, or a frame's groups")
    release: Literal["1.0", "1.1"] = Field(
        "1.0",
        description="what stands before the first frame: zeros (1.0), or the first frame again (1.1, which is also "
        "what diffusers' AutoencoderVidTok computes)",
    )
    interpolation: Literal["nearest", "linear"] = Field("nearest", description="of frames that are doubled")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @property
    def frame_downsampling(self) -> int:
        """Frames that a latent stands for, but for the first latent, which stands for one."""
        return int(2 ** len(self.down_frames))

    @property
    def downsampling(self) -> int:
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def default_code_channels(self) -> int:
        return 6

    @model_validator(mode="after")
    def _levels_exist(self) -> VidTokConfig:
        last = len(self.multipliers) - 1
        if len(self.down_frames) != len(self.up_frames):
            raise ValueError(f"down_frames {self.down_frames} and up_frames {self.up_frames} are not equally many")
        for key, levels, allowed in (
            ("down_frames", self.down_frames, range(last)),
            ("up_frames", self.up_frames, range(1, last + 1)),
        ):
            if len(set(levels)) < len(levels) or not set(levels) <= set(allowed):
                raise ValueError(f"{key} {list(levels)} must be different levels of {list(allowed)}")
        return self


@settings
class CosmosDVConfig(VideoArchitecture):
    """Cosmos' discrete video tokenizer (NVIDIA 2025, arXiv:2501.03575): wavelet patches, factorised causal blocks.

    The defaults are ``Cosmos-Tokenizer-DV8x16x16``'s.
    """

    architecture: Literal["cosmos-dv"] = "cosmos-dv"
    channels: PositiveInt = 128
    multipliers: Multipliers = (2, 4, 4)
    blocks: Layers = Field(2, description="residual blocks per level; the decoder has one more")
    latent_channels: PositiveInt = Field(16, description="Cosmos' z_channels")
    patch_size: Literal[1, 2, 4, 8] = 4
    patch_method: Literal["haar", "rearrange"] = "haar"
    spatial_compression: Literal[1, 2, 4, 8, 16, 32, 64] = 16
    temporal_compression: Literal[1, 2, 4, 8, 16, 32, 64] = 8
    attention_levels: tuple[int, ...] = Field((), description="levels with attention; the middle always has it")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _compression_is_possible(self) -> CosmosDVConfig:
        halvings = len(self.multipliers) - 1
        for key, factor in (("spatial", self.spatial_compression), ("temporal", self.temporal_compression)):
            if not 0 <= _log2(factor) - _log2(self.patch_size) <= halvings:
                raise ValueError(
                    f"{key}_compression {factor} cannot be reached with patch_size {self.patch_size} and "
                    f"{halvings} halvings: {self.patch_size} to {self.patch_size * 2**halvings}"
                )
        if tuple(map(sum, zip(*self.ups, strict=True))) != self._halvings:
            raise ValueError(
                f"Cosmos' decoder doubles frames not after its first level: {halvings} halvings are too few for "
                f"spatial_compression {self.spatial_compression} and temporal_compression {self.temporal_compression}"
            )
        if not set(self.attention_levels) <= set(range(halvings + 1)):
            raise ValueError(f"attention_levels {list(self.attention_levels)} must lie within 0..{halvings}")
        return self

    @property
    def frame_downsampling(self) -> int:
        """Frames that a latent stands for, but for the first latent, which stands for one."""
        return self.temporal_compression

    @property
    def downsampling(self) -> int:
        return self.spatial_compression

    @property
    def default_code_channels(self) -> int:
        return 6

    @property
    def downs(self) -> tuple[tuple[bool, bool], ...]:
        """(in space, in time) of the halving after each of the encoder's levels but the last."""
        space, time = self._halvings
        return tuple((level < space, level < time) for level in range(len(self.multipliers) - 1))

    @property
    def ups(self) -> tuple[tuple[bool, bool], ...]:
        """(in space, in time) of the doubling after each of the decoder's levels but the last, from the lowest on."""
        space, time = self._halvings
        found = []
        for step in range(len(self.multipliers) - 1):
            in_time = 0 < step < time + 1
            found.append((in_time or (step < space and space > time), in_time))
        return tuple(found)

    @property
    def _halvings(self) -> tuple[int, int]:
        patch = _log2(self.patch_size)
        return _log2(self.spatial_compression) - patch, _log2(self.temporal_compression) - patch


def _log2(power: int) -> int:
    return power.bit_length() - 1
