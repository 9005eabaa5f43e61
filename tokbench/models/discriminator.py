"""Discriminators: images (B, C, H, W) in [-1, 1] to logits, high where an image looks real."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.grid import Size, axes, shortest
from tokbench.config.loss import ClipDiscriminatorConfig, DiscriminatorConfig, PatchGANConfig, StyleGANConfig
from tokbench.errors import TokbenchError, size_text

from .discriminator3d import ClipDiscriminator


class PatchGAN(nn.Sequential):
    """pix2pix's classifier of overlapping patches: logits (B, 1, h, w), h = H/8 - 2 with three layers.

    Layout and initialisation of CompVis/taming-transformers ``discriminator/model.py:NLayerDiscriminator``: kernels of
    4, LeakyReLU 0.2, convolution weights N(0, 0.02), norm weights N(1, 0.02). Its BatchNorm keeps no running
    statistics: a discriminator is only ever used on the batch at hand.
    """

    def __init__(self, config: PatchGANConfig, image_channels: int = 3) -> None:
        sizes = [config.channels * min(2**n, 8) for n in range(config.layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(image_channels, sizes[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for n in range(1, config.layers + 1):
            stride = 2 if n < config.layers else 1
            layers.append(nn.Conv2d(sizes[n - 1], sizes[n], 4, stride, padding=1, bias=config.norm == "none"))
            layers += [*_norm(config.norm, sizes[n]), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(sizes[-1], 1, 4, padding=1))
        super().__init__(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.normal_(module.weight, 1.0, 0.02)
        if config.spectral_norm:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.utils.parametrizations.spectral_norm(module)


def _norm(kind: str, channels: int) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm2d(channels, track_running_stats=False)]
    # At least four channels a group: over a single channel of a few pixels there is nothing to normalise by.
    return [nn.GroupNorm(math.gcd(32, max(1, channels // 4)), channels)] if kind == "group" else []


class StyleGANDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator: one logit an image (B, 1).

    Karras et al. 2020 (arXiv:1912.04958), section 4: equalised learning rate, blurred downsampling, the residual sum
    over sqrt(2), and the standard deviation over groups of 4 images as a last channel.
    """

    def __init__(self, config: StyleGANConfig, image_size: int, image_channels: int = 3) -> None:
        super().__init__()
        levels = int(math.log2(image_size))
        sizes = {level: min(config.channels, max(1, config.largest // 2**level)) for level in range(2, levels + 1)}
        self.stem = EqualizedConv(image_channels, sizes[levels], 1)
        self.blocks = nn.Sequential(*(_Residual(sizes[level], sizes[level - 1]) for level in range(levels, 2, -1)))
        self.last = EqualizedConv(sizes[2] + 1, sizes[2], 3)
        self.hidden = EqualizedLinear(16 * sizes[2], sizes[2])
        self.out = EqualizedLinear(sizes[2], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(_activate(self.stem(images)))
        x = _activate(self.last(torch.cat([x, deviation_of_groups(x)], dim=1)))
        return self.out(_activate(self.hidden(x.flatten(1))))


class _Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = EqualizedConv(channels_in, channels_in, 3)
        self.second = EqualizedConv(channels_in, channels_out, 3, stride=2)
        self.skip = EqualizedConv(channels_in, channels_out, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = _activate(self.second(blur(_activate(self.first(x)), pad=2)))
        return (h + self.skip(blur(x, pad=1))) / math.sqrt(2)


class EqualizedConv(nn.Module):
    """A convolution whose weights are N(0, 1) and scaled by 1/sqrt(fan-in) when used. "Same" padding at stride 1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        self.scale = 1 / math.sqrt(channels_in * kernel**2)
        self.stride, self.padding = stride, kernel // 2 if stride == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualizedLinear(nn.Module):
    """A linear layer whose weights are N(0, 1) and scaled by 1/sqrt(fan-in) when used."""

    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features_out, features_in))
        self.bias = nn.Parameter(torch.zeros(features_out))
        self.scale = 1 / math.sqrt(features_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


def _activate(x: Tensor) -> Tensor:
    """LeakyReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def blur(x: Tensor, pad: int) -> Tensor:
    """The binomial filter [1, 3, 3, 1], after ``pad`` zeros on each side."""
    tap = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype)
    kernel = (tap[:, None] * tap[None] / 64).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, padding=pad, groups=x.shape[1])


def deviation_of_groups(x: Tensor, group: int = 4) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W): standard deviation over groups of at most 4 images, averaged over the rest."""
    batch, _, height, width = x.shape
    size = max(g for g in range(1, min(group, batch) + 1) if batch % g == 0)
    groups = x.float().reshape(size, batch // size, -1)
    deviation = (groups.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=1)
    return deviation.to(x.dtype).repeat(size)[:, None, None, None].expand(batch, 1, height, width)


def build_discriminator(config: DiscriminatorConfig, size: Size, image_channels: int = 3) -> nn.Module:
    """The discriminator for images or clips of ``size``. TokbenchError where they do not fit it."""
    if isinstance(config, ClipDiscriminatorConfig):
        if len(shape := axes(size)) != 3:
            raise TokbenchError(
                f"loss.adversarial.discriminator: {config.name} looks at clips, and these are images: {size_text(size)}"
            )
        return ClipDiscriminator(shape, config.channels, config.multipliers, image_channels)
    if len(axes(size)) != 2:
        raise TokbenchError(
            f"loss.adversarial.discriminator: {config.name} looks at images, and these are clips of {size_text(size)}"
        )
    if isinstance(config, StyleGANConfig):
        if not isinstance(size, int) or size < 8 or size & (size - 1):
            raise TokbenchError(
                "loss.adversarial.discriminator: stylegan2 takes square images of 8, 16, 32, ... pixels, not "
                f"{size_text(size)}"
            )
        return StyleGANDiscriminator(config, size, image_channels)
    side = shortest(size)
    for _ in range(config.layers):
        side = side // 2
    if side < 3:  # two unstrided convolutions each take one row and column
        most = int(math.log2(shortest(size) / 3)) if shortest(size) >= 6 else 0
        hint = f"at most {most} fit" if most else "no patchgan fits"
        raise TokbenchError(
            f"loss.adversarial.discriminator.layers {config.layers}: too many for images of "
            f"{shortest(size)} pixels; {hint}"
        )
    return PatchGAN(config, image_channels)
