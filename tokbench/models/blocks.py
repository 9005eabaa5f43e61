"""The building blocks the convolutional autoencoders share. Maps are (B, C, H, W) throughout.

Residual, attention and resampling blocks follow CompVis/taming-transformers
``taming/modules/diffusionmodules/model.py``; depth-to-space upsampling and adaptive GroupNorm follow MAGVIT-v2
(arXiv:2310.05737) as in TencentARC/SEED-Voken. Values equal theirs, so their weights load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def fitting_groups(channels: int, groups: int) -> int:
    """The most groups up to ``groups`` that divide the channels."""
    return next(n for n in range(min(groups, channels), 0, -1) if channels % n == 0)


def group_norm(channels: int, groups: int = 32, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm with epsilon 1e-6 (taming's ``Normalize``), over the most groups up to ``groups`` that divide."""
    return nn.GroupNorm(fitting_groups(channels, groups), channels, eps=1e-6, affine=affine)


class Recomputed(nn.Module):
    """A block whose activations can be computed again in the backward pass: less memory, more time."""

    checkpointing = False

    def _forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(self._forward, *inputs, use_reentrant=False)
        return self._forward(*inputs)


class ResnetBlock(Recomputed):
    """Twice GroupNorm, swish, 3x3 convolution, added to the input (through a 1x1 where the channels change).

    Like attention and stages it hands ``codes`` to its norms, where those are modulated (``tokbench.models.movq``).
    """

    ends_in = "conv2"  # what :func:`zero_residual_` makes zero

    def __init__(
        self, channels_in: int, channels_out: int, dropout: float = 0.0, bias: bool = True, groups: int = 32
    ) -> None:
        super().__init__()
        self.norm1: nn.Module = group_norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)
        self.norm2: nn.Module = group_norm(channels_out, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=bias)
        same = channels_in == channels_out
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, bias=bias)

    def _branch(self, x: Tensor, *codes: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, *codes)))
        return self.conv2(self.dropout(F.silu(self.norm2(h, *codes))))

    def _forward(self, x: Tensor, *codes: Tensor) -> Tensor:
        return self.shortcut(x) + self._branch(x, *codes)


class Stage(nn.Module):
    """The residual blocks of one resolution, each followed by attention where the level has it, then a resampling."""

    def __init__(self, blocks: Iterable[nn.Module], attention: Iterable[nn.Module], resample: nn.Module) -> None:
        super().__init__()
        self.blocks, self.attention, self.resample = nn.ModuleList(blocks), nn.ModuleList(attention), resample

    def forward(self, x: Tensor, *codes: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, *codes)
            if len(self.attention):
                x = self.attention[i](x, *codes)
        return self.resample(x)  # type: ignore[no-any-return]


@torch.no_grad()
def zero_residual_(module: nn.Module) -> nn.Module:
    """Initialise in place: residual and attention blocks add nothing at first, every other convolution keeps the
    variance of its input. The network then starts linear but for its last normalisation, whatever its depth.

    (Zero at the end of residual branches: Goyal et al. 2017, arXiv:1706.02677, section 5.1.)
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            if layer.bias is not None:
                layer.bias.zero_()
    for layer in module.modules():
        if name := getattr(layer, "ends_in", None):
            getattr(layer, name).weight.zero_()
    return module


E = TypeVar("E", bound=nn.Module)
D = TypeVar("D", bound=nn.Module)


def initialized(encoder: E, decoder: D, how: Literal["default", "zero-residual"]) -> tuple[E, D]:
    """Both, as the settings of an architecture say."""
    if how == "zero-residual":
        zero_residual_(encoder)
        zero_residual_(decoder)
    return encoder, decoder


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Single-head attention, (B, N, C) three times -> (B, N, C), whose memory grows with N, not with N x N.

    PyTorch's fused kernels, which never hold the scores, take channels that lie side by side (on CUDA a multiple of 8
    of them); given anything else they make way for a kernel that holds N x N. Up to N = 1024 that one is as fast and
    its 4 MiB do no harm, so what was trained at usual sizes keeps its last bits.
    """
    channels = q.shape[-1]
    q, k, v = (x.unsqueeze(1) for x in (q, k, v))
    if q.shape[-2] > 1024:
        lacking = -channels % 8 if q.is_cuda else 0
        q, k, v = (F.pad(x, (0, lacking)).contiguous() for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=channels**-0.5).squeeze(1)[..., :channels]


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, added to the input. Any map size."""

    looks_everywhere = True  # see ``tokbench.models.extent``
    ends_in = "out"

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm: nn.Module = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, *codes: Tensor) -> Tensor:
        h = self.norm(x, *codes)
        q, k, v = (rearrange(conv(h), "b c h w -> b (h w) c") for conv in (self.q, self.k, self.v))
        h = rearrange(attend(q, k, v), "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.out(h)


class Downsample(nn.Module):
    """Halve the sides with a strided 3x3 convolution, zero-padded right and below only, as taming pads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the sides by repeating each position, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def depth_to_space(x: Tensor, factor: int = 2) -> Tensor:
    """(B, f*f*C, H, W) -> (B, C, f*H, f*W), block offsets varying slowest (TensorFlow's order, not PixelShuffle's)."""
    return rearrange(x, "b (fh fw c) h w -> b c (h fh) (w fw)", fh=factor, fw=factor)


class DepthToSpaceUpsample(nn.Module):
    """Double the sides: a 3x3 convolution to four times the channels, then depth to space."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.conv(x))


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm whose scale and shift are linear in the codes' standard deviation and mean over positions.

    MAGVIT-v2, section 3.2; the statistics (unbiased variance plus 1e-6) are those of Open-MAGVIT2. A single position
    has no unbiased variance, so there the biased one, zero, is used.
    """

    def __init__(self, channels: int, code_channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups, affine=False)
        self.scale = nn.Linear(code_channels, channels)
        self.shift = nn.Linear(code_channels, channels)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        flat = codes.flatten(2)
        deviation = (flat.var(dim=-1, correction=int(flat.shape[-1] > 1)) + 1e-6).sqrt()
        scale, shift = self.scale(deviation), self.shift(flat.mean(dim=-1))
        return torch.addcmul(shift[..., None, None], self.norm(x), scale[..., None, None])
