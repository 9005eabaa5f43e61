"""The tokenizer: an encoder, a quantizer and a decoder under one configuration.

Images are float (B, C, H, W), or for an architecture of clips (B, C, T, H, W), in [-1, 1], C the configuration's
``channels`` (3: RGB, 1: grey). Codes are int64 (B, *grid, D), the grid the architecture's (``tokbench.config.grid``), D
the depth.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import quantizers
from quantizers.functional.gradient import straight_through
from tokbench.config.architecture import ImageArchitecture
from tokbench.config.grid import Grid, Size, axes, pixels
from tokbench.config.model import QuantizerConfig, TokenizerConfig
from tokbench.errors import TokbenchError, size_text
from tokbench.results.card import Card

from .card import tokenizer_card
from .extent import Extent, extent_of
from .folder import SavedModel
from .prefixes import Prefix
from .registry import builder
from .tiling import in_pieces

SMALL = 2**16
"""Pixels of a batch that always go through whole: nothing is looked at for them."""

_AXES = {1: "N", 2: "H, W", 3: "T, H, W"}  # of codes, as messages have them


@dataclass
class TokenizerOutput:
    """What one pass gives. ``loss`` is the quantizer's weighted loss (a scalar), ``losses`` its parts by name."""

    reconstruction: Tensor  # as the images, not clamped
    codes: Tensor  # (B, *grid, D) int64
    loss: Tensor
    losses: dict[str, Tensor]
    latents: Tensor  # (B, c, *grid), before quantization


class Tokenizer(SavedModel):
    """Images to codes and back.

    Args:
        config: the architecture and its settings, the quantizer and its keywords, the image size.

    Raises:
        TokbenchError: an unknown architecture or quantizer, or a keyword the quantizer does not take.
    """

    Config = TokenizerConfig
    config: TokenizerConfig

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizer_of(config)
        self.encoder, self.decoder = self._networks(config, self.quantizer.dim)
        self._known_extents: dict[torch.dtype, tuple[Extent, Extent]] = {}

    def _networks(self, config: TokenizerConfig, dim: int) -> tuple[nn.Module, nn.Module]:
        return builder(config.model.architecture)(config.model, config.image_size, dim, config.channels)

    @property
    def downsampling(self) -> int:
        """Pixels along a row that one latent position stands for."""
        return self.config.model.factors[-1]

    @property
    def last_layer(self) -> Tensor:
        """The weight of the decoder's final convolution (VQ-GAN's adaptive weight takes gradients there)."""
        layer = self.decoder.last_layer
        assert isinstance(layer, Tensor)
        return layer

    @property
    def parameter_count(self) -> int:
        """Numbers that were learned: parameters, and the codebooks that moving averages learn instead of gradients."""
        books = [b for name, b in self.quantizer.named_buffers() if name.split(".")[-1] in ("weight", "embed")]
        return sum(p.numel() for p in self.parameters()) + sum(book.numel() for book in books)

    def grid(self, size: Size | None = None) -> Grid:
        """The grid of the codes of images of ``size``; empty: the configured size. ValueError where there is none."""
        return self.quantizer.code_grid(self.latent_grid(size))

    def latent_grid(self, size: Size | None = None) -> Grid:
        """The grid of the latent map, likewise: that of the codes, where the quantizer has none of its own."""
        own = self.config.image_size
        if size is not None and not self.config.model.any_size and axes(size) != axes(own):
            raise ValueError(f"{size_text(size)} is not the one size of this tokenizer's images, {size_text(own)}")
        return self.config.model.grid(own if size is None else size)

    def prefixes(self) -> list[Prefix]:
        """The parts of a code stack that decode, coarse to fine, the whole last."""
        depth = len(self.quantizer.codebook_sizes)
        if counts := self._prefix_lengths:
            return [Prefix(n, depth) for n in counts]
        return [Prefix(None, d) for d in (range(1, depth + 1) if self.quantizer.decodes_prefix else [depth])]

    @property
    def _prefix_lengths(self) -> tuple[int, ...]:
        return self.quantizer.prefixes or self.config.model.prefixes

    def _check_images(self, images: Tensor) -> None:
        channels, spatial = self.config.channels, len(self.config.model.factors)
        if images.ndim != 2 + spatial or images.shape[1] != channels or not images.is_floating_point():
            got = f"{images.dtype} {tuple(images.shape)}"
            layout = "H, W" if spatial == 2 else "T, H, W"
            hint = "; open them with channels=1, or see tokbench.data.to_grey" if channels == 1 else ""
            raise ValueError(f"images must be float (B, {channels}, {layout}), got {got}{hint}")
        try:
            self.grid(tuple(images.shape[2:]))
        except ValueError as error:
            pad = ", or pad them with pad_to_multiple" if self.config.model.any_size else ""
            raise ValueError(f"images: {error}: crop or resize the images{pad}") from None

    def forward(self, images: Tensor) -> TokenizerOutput:
        """Encode, quantize and decode; gradients flow, and in training mode the quantizer may update its codebook."""
        latents = self.latents(images)
        out = self.quantizer(latents)
        frozen = self.encoder.training and not self.quantizer.training  # one in evaluation mode passes no gradient on
        quantized = straight_through(latents, out.quantized) if frozen else out.quantized
        return TokenizerOutput(self.decoder(quantized), out.indices, out.loss, out.losses, latents)

    def latents(self, images: Tensor) -> Tensor:
        """Images to the unquantized latents (B, c, *grid). ValueError for a size of which there is no grid.

        In evaluation mode and without gradients, images too large for memory go through in tiles, which is said.
        """
        self._check_images(images)
        if not self._may_tile(images.numel() // self.config.channels):
            return self.encoder(images)
        return in_pieces(self.encoder, images, self._extents(images)[0], self.downsampling, "encoded", up=False)

    def _may_tile(self, pixels: int) -> bool:
        if not isinstance(self.config.model, ImageArchitecture) or self.training or torch.is_grad_enabled():
            return False
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # which would bind the batch to what is asked here
            return False
        return pixels > SMALL

    def _extents(self, like: Tensor) -> tuple[Extent, Extent]:
        """Of encoder and decoder, computed when first asked for in this precision."""
        if like.dtype not in self._known_extents:
            side = 2 * self.downsampling
            images = like.new_zeros(1, self.config.channels, side, side)
            latents = like.new_zeros(1, self.quantizer.dim, 2, 2)
            self._known_extents[like.dtype] = (
                extent_of(self.encoder, images, side * side),
                extent_of(self.decoder, latents, side * side),
            )
        return self._known_extents[like.dtype]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images to codes (B, *grid, D); changes no state, no gradient."""
        return self.quantizer.encode(self.latents(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid, d) to images; coarse to fine, any of ``prefixes``.

        In evaluation mode and without gradients, images too large for memory are made in tiles, which is said.
        """
        spatial = len(self.grid())
        if codes.ndim != spatial + 2:
            raise ValueError(f"codes must be (B, {_AXES.get(spatial, '*grid')}, D), got {tuple(codes.shape)}")
        quantized = self.quantizer.decode(codes).to(self.last_layer.dtype)
        if not self._may_tile(codes[..., 0].numel() * self.downsampling**2):
            return self.decoder(quantized)
        extent = self._extents(quantized)[1]
        return in_pieces(self.decoder, quantized, extent, self.downsampling, "decoded", up=True)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, depth: int | None = None) -> Tensor:
        """Images through their codes, the first ``depth`` of them where given; not clamped."""
        codes = self.encode(images)
        if depth is not None and not 1 <= depth <= codes.shape[-1]:
            raise ValueError(f"depth {depth} is not within 1..{codes.shape[-1]}")
        return self.decode(codes if depth is None else codes[..., :depth])

    def rate(self, size: Size | None = None) -> dict[str, Any]:
        """The exact rate of fixed-length codes, ``Quantizer.bits_of``: of positions with vocabularies of their own the
        bits of one are their mean."""
        grid = self.grid(size)
        sizes = [int(k) for k in self.quantizer.codebook_sizes]
        at, bits, lengths = self.quantizer.position_sizes(grid), self.quantizer.bits_of(grid), self._prefix_lengths
        return {
            "tokens": [*grid, len(sizes)],
            "codebook_sizes": sizes,
            "bits_per_position": bits / math.prod(grid),
            "bits_per_image": bits,
            "bits_per_pixel": bits / pixels(self.config.image_size if size is None else size),
            **({"prefixes": list(lengths)} if lengths else {}),
            **({"position_sizes": list(at)} if at else {}),
        }

    def checkpoint_activations(self, on: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass instead of keeping them: less memory, more time."""
        for module in self.modules():
            if hasattr(module, "checkpointing"):
                module.checkpointing = on  # type: ignore[assignment]

    def compile_networks(self, **options: Any) -> None:
        """``torch.compile`` the encoder and the decoder in place; weights keep their names.

        The quantizer stays as it is: its codebook update draws random numbers and talks to other processes, which
        would break the graph, and its products gain nothing.
        """
        self.encoder.compile(**options)
        self.decoder.compile(**options)

    def card(self) -> Card:
        return tokenizer_card(self)


def quantizer_of(config: TokenizerConfig) -> quantizers.Quantizer:
    """The quantizer of a tokenizer, without weights of anybody's. TokbenchError where its settings make none."""
    model = config.model
    quantizer = _build_quantizer(config.quantizer, model.code_channels, model.default_code_channels)
    try:
        quantizer.settle(model.grid(config.image_size))
    except ValueError as error:
        raise TokbenchError(f"quantizer {config.quantizer.name!r}: {error}") from None
    return quantizer


def _build_quantizer(config: QuantizerConfig, channels: int | None, default: int) -> quantizers.Quantizer:
    """The quantizer with ``channels`` inputs; without a number, its own where it has one, else ``default``."""
    options = dict(config.options)
    if "dim" in options:
        raise TokbenchError("quantizer.dim: say model.code_channels instead, which the encoder shares")
    try:
        if channels is None and not _has_own_dim(config.name, options):
            channels = default
        if channels is not None:
            options["dim"] = channels
        return quantizers.build(config.name, channel_first=True, **options)
    except (ValueError, TypeError, KeyError) as error:
        key = " (dim is model.code_channels)" if re.search(r"\bdim\b", str(error)) else ""
        raise TokbenchError(f"quantizer {config.name!r}: {error}{key}") from error


def _has_own_dim(name: str, options: Mapping[str, Any]) -> bool:
    """Whether the quantizer, or the one inside it, finds its number of channels by itself (an LFQ's bits, an FSQ's
    levels)."""
    if ":" in name:  # a wrapped class of another library, which always needs telling
        return False
    parameters = inspect.signature(quantizers.get(name)).parameters
    if "dim" not in parameters or parameters["dim"].default is not None:
        return False
    inner = options.get("quantizer", parameters["quantizer"].default if "quantizer" in parameters else None)
    return _has_own_dim(inner, {}) if isinstance(inner, str) else True


def pad_to_multiple(images: Tensor, factor: int | Grid) -> tuple[Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) right and below to multiples of ``factor`` (one for both sides, or one each); also the (H, W)
    to crop the result back to.

    The border is mirrored, or its last row and column repeated where the image is too small to mirror.
    """
    height, width = images.shape[-2:]
    down, across = axes(factor)
    below, right = -height % down, -width % across
    if not below and not right:
        return images, (height, width)
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode), (height, width)


def chosen_size(tokenizer: Tokenizer, asked: Size | None, option: str, *, single: bool = False) -> Size:
    """The size that was asked for, or the tokenizer's own. Raises TokbenchError, naming ``option``, without a grid.

    Args:
        single: whether one of videos may have images, each of them a frame.
    """
    size = tokenizer.config.image_size if asked is None else asked
    try:
        tokenizer.grid(size)
        if len(axes(size)) < len(tokenizer.config.model.factors) and not single:
            raise ValueError(f"{size_text(size)} is of images; the tokenizer takes clips, FRAMESxHEIGHTxWIDTH")
    except ValueError as error:
        raise TokbenchError(f"{option} {error}") from None
    return size
