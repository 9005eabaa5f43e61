"""O2-MAGVIT2's tokenizer of videos as its authors compute it, to be timed beside ours: it cannot be installed.

Stated anew after cofe-ai/O2-MAGVIT2 ``modeling/magvit2.py``: contiguous (B, C, T, H, W), a padded copy before every
convolution, frames moved into the batch and back around every norm, code maps made as large as what they scale.
Weights go by our names, so that both hold the same ones.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.causal import CausalResidual
from tokbench.models.magvit2_video import Decoder, Encoder


class PeerOutput(NamedTuple):
    """Of a training step, under the names of our own tokenizers' output."""

    reconstruction: Tensor
    loss: Tensor


class PaddedConv(nn.Module):
    """Zeros around the frame and before the clip as a copy, then an unpadded 3D convolution."""

    def __init__(self, like: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias, self.stride = like.weight, like.bias, like.stride

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.weight.shape[2:]
        around = (width // 2, width // 2, height // 2, height // 2, time - 1, 0)
        return F.conv3d(F.pad(x, around), self.weight, self.bias, self.stride)


class FrameNorm(nn.Module):
    """GroupNorm of (B*T, C, H, W), a copy there and one back."""

    def __init__(self, like: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.groups, self.eps = like.weight, like.bias, like.num_groups, like.eps

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, time, height, width = x.shape
        frames = x.transpose(1, 2).reshape(batch * time, channels, height, width)
        frames = F.group_norm(frames, self.groups, self.weight, self.bias, self.eps)
        return frames.reshape(batch, time, channels, height, width).transpose(1, 2)


class ConditionedNorm(nn.Module):
    """A norm times 1 + scale plus shift, both computed at every position of the map."""

    def __init__(self, norm: FrameNorm, scale: nn.Linear, shift: nn.Linear) -> None:
        super().__init__()
        self.norm, self.scale, self.shift = norm, scale, shift

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        codes = codes.permute(0, 2, 3, 4, 1)
        scale, shift = (layer(codes).permute(0, 4, 1, 2, 3) for layer in (self.scale, self.shift))
        return self.norm(x) * (scale + 1.0) + shift


class SpaceUp(nn.Module):
    """A convolution, then depth to space in channels-last order and back."""

    def __init__(self, conv: PaddedConv, frames: int) -> None:
        super().__init__()
        self.conv, self.frames = conv, frames

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).permute(0, 2, 3, 4, 1)
        batch, time, height, width, channels = x.shape
        left = channels // (4 * self.frames)
        x = x.reshape(batch, time, height, width, self.frames, 2, 2, left).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return x.reshape(batch, time * self.frames, 2 * height, 2 * width, left).permute(0, 4, 1, 2, 3)


class Residual(nn.Module):
    def __init__(self, norm1: FrameNorm, conv1: PaddedConv, norm2: FrameNorm, conv2: PaddedConv, shortcut: nn.Module):
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2, self.shortcut = norm1, conv1, norm2, conv2, shortcut

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.conv2(F.silu(self.norm2(h))) + self.shortcut(x)


def restated(module: nn.Module) -> nn.Module:
    """One of our layers as O2-MAGVIT2 computes it, with the same weights; containers layer by layer."""
    if isinstance(module, nn.Conv3d):
        return PaddedConv(module)
    if isinstance(module, nn.GroupNorm):
        return FrameNorm(module)
    if isinstance(module, CausalResidual):
        parts = (module.norm1, module.conv1, module.norm2, module.conv2, module.shortcut)
        return Residual(*(restated(part) for part in parts))  # type: ignore[arg-type]
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return nn.Sequential(*(restated(part) for part in module))
    return module


class O2Encoder(nn.Module):
    """Videos (B, C, T, H, W) to latents, with the weights of our ``encoder``."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.stem, self.middle, self.norm, self.head = (
            restated(part) for part in (encoder.stem, encoder.middle, encoder.norm, encoder.head)
        )
        self.levels = nn.ModuleList(restated(level) for level in encoder.levels)
        self.down = nn.ModuleList([*(restated(down) for down in encoder.down), nn.Identity()])

    def forward(self, videos: Tensor) -> Tensor:
        x = self.stem(videos.contiguous())
        for level, down in zip(self.levels, self.down, strict=True):
            x = down(level(x))
        return self.head(F.silu(self.norm(self.middle(x))))


class O2Decoder(nn.Module):
    """Quantized latents to videos, with the weights of our ``decoder``."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.stem, self.middle, self.norm, self.head = (
            restated(part) for part in (decoder.stem, decoder.middle, decoder.norm, decoder.head)
        )
        self.adaptive = nn.ModuleList(
            ConditionedNorm(FrameNorm(norm.norm), norm.scale, norm.shift)  # type: ignore[arg-type]
            for norm in decoder.adaptive
        )
        self.levels = nn.ModuleList(restated(level) for level in decoder.levels)
        self.up = nn.ModuleList(SpaceUp(PaddedConv(up.conv), up.frames) for up in decoder.up)  # type: ignore[arg-type]

    def forward(self, quantized: Tensor) -> Tensor:
        x, codes = self.middle(self.stem(quantized.contiguous())), quantized
        for i, (norm, level) in enumerate(zip(self.adaptive, self.levels, strict=True)):
            x = level(norm(x, codes))
            if i < len(self.up):
                x, frames = self.up[i](x), int(self.up[i].frames)  # type: ignore[arg-type]
                codes = F.interpolate(codes, tuple(x.shape[2:]), mode="nearest")
                x, codes = x[:, :, frames - 1 :], codes[:, :, frames - 1 :]
        return self.head(F.silu(self.norm(x)))


class O2MAGVIT2(nn.Module):
    """The tokenizer out of both, with a copy of the weights of ``tokenizer`` and its quantizer.

    Raises:
        TokbenchError: another architecture, or settings that O2-MAGVIT2 has not.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        model = tokenizer.config.model
        form = {"norm_over": "frame", "adaptive": "position", "padding": "zeros", "dropped_frame": "first"}
        if model.architecture != "magvit2-video" or any(getattr(model, key) != form[key] for key in form):
            needs = ", ".join(f"{key}={value}" for key, value in form.items())
            raise TokbenchError(f"o2: beside its own module goes only a magvit2-video tokenizer with {needs}")
        own = copy.deepcopy(tokenizer)
        assert isinstance(own.encoder, Encoder) and isinstance(own.decoder, Decoder)
        self.encoder, self.decoder, self.quantizer = O2Encoder(own.encoder), O2Decoder(own.decoder), own.quantizer

    def forward(self, videos: Tensor) -> PeerOutput:
        """Videos in [-1, 1] -> reconstruction and quantizer loss."""
        out = self.quantizer(self.encoder(videos))
        return PeerOutput(self.decoder(out.quantized), out.loss)

    def encode(self, videos: Tensor) -> Tensor:
        """Codes (B, T', h, w, D)."""
        return self.quantizer.encode(self.encoder(videos))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, T', h, w, D) -> videos."""
        videos: Tensor = self.decoder(self.quantizer.decode(codes))
        return videos
