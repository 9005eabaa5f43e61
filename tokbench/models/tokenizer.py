"""The tokenizer: an encoder, a quantizer and a decoder under one configuration.

Images are float (B, C, H, W) in [-1, 1], C the configuration's ``channels`` (3: RGB, 1: grey); codes are int64
(B, H/f, W/f, D), f the downsampling, D the depth.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import quantizers
from quantizers.functional.gradient import straight_through
from tokbench.config.model import QuantizerConfig, TokenizerConfig
from tokbench.errors import TokbenchError

from . import storage
from .extent import Extent, extent_of
from .registry import builder
from .tiling import in_pieces

SMALL = 2**16
"""Pixels of a batch that always go through whole: nothing is looked at for them."""


@dataclass
class TokenizerOutput:
    """What one pass gives. ``loss`` is the quantizer's weighted loss (a scalar), ``losses`` its parts by name."""

    reconstruction: Tensor  # (B, C, H, W), not clamped
    codes: Tensor  # (B, H/f, W/f, D) int64
    loss: Tensor
    losses: dict[str, Tensor]
    latents: Tensor  # (B, c, H/f, W/f), before quantization


class Tokenizer(nn.Module):
    """Images to codes and back.

    Args:
        config: the architecture and its settings, the quantizer and its keywords, the image size.

    Raises:
        TokbenchError: an unknown architecture or quantizer, or a keyword the quantizer does not take.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        model = config.model
        self.quantizer = _build_quantizer(config.quantizer, model.code_channels, model.default_code_channels)
        self.encoder, self.decoder = builder(model.architecture)(
            model, config.image_size, self.quantizer.dim, config.channels
        )
        self._known_extents: dict[torch.dtype, tuple[Extent, Extent]] = {}

    @property
    def downsampling(self) -> int:
        """Pixels a side of one latent position."""
        return self.config.model.downsampling

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

    def latent_shape(self, image_size: int | tuple[int, int] | None = None) -> tuple[int, int]:
        """(H/f, W/f) of an image of ``image_size`` (a side, or height and width; empty: the configured size)."""
        height, width = _sides(image_size or self.config.image_size)
        self._check_sides(height, width)
        return height // self.downsampling, width // self.downsampling

    def _check_sides(self, height: int, width: int) -> None:
        f = self.downsampling
        if height % f or width % f or not height or not width:
            raise ValueError(
                f"image sides {height}x{width} are not multiples of the downsampling {f}: "
                "crop or resize the images, or pad them with pad_to_multiple"
            )

    def _check_images(self, images: Tensor) -> None:
        channels = self.config.channels
        if images.ndim != 4 or images.shape[1] != channels or not images.is_floating_point():
            got = f"{images.dtype} {tuple(images.shape)}"
            hint = "; open them with channels=1, or see tokbench.data.to_grey" if channels == 1 else ""
            raise ValueError(f"images must be float (B, {channels}, H, W), got {got}{hint}")
        self._check_sides(*images.shape[-2:])

    def forward(self, images: Tensor) -> TokenizerOutput:
        """Encode, quantize and decode; gradients flow, and in training mode the quantizer may update its codebook."""
        latents = self.latents(images)
        out = self.quantizer(latents)
        frozen = self.encoder.training and not self.quantizer.training  # one in evaluation mode passes no gradient on
        quantized = straight_through(latents, out.quantized) if frozen else out.quantized
        return TokenizerOutput(self.decoder(quantized), out.indices, out.loss, out.losses, latents)

    def latents(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the unquantized latents (B, c, H/f, W/f). ValueError for sides that f does not divide.

        In evaluation mode and without gradients, images too large for memory go through in tiles, which is said.
        """
        self._check_images(images)
        if not self._may_tile(images.numel() // self.config.channels):
            return self.encoder(images)
        return in_pieces(self.encoder, images, self._extents(images)[0], self.downsampling, "encoded", up=False)

    def _may_tile(self, pixels: int) -> bool:
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return pixels > SMALL and not (self.training or torch.is_grad_enabled() or tracing)

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
        """(B, C, H, W) to codes (B, H/f, W/f, D); changes no state, no gradient."""
        return self.quantizer.encode(self.latents(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w, d) to images (B, C, f*h, f*w); d may be a prefix of the depths (coarse to fine).

        In evaluation mode and without gradients, images too large for memory are made in tiles, which is said.
        """
        if codes.ndim != 4:
            raise ValueError(f"codes must be (B, H, W, D), got {tuple(codes.shape)}")
        weight = next(self.decoder.parameters())
        quantized = self.quantizer.decode(codes).to(weight.dtype)
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

    def rate(self, image_size: int | tuple[int, int] | None = None) -> dict[str, Any]:
        """The exact rate of fixed-length codes: H * W * sum of log2 K_d over the depths, in bits."""
        height, width = _sides(image_size or self.config.image_size)
        rows, columns = self.latent_shape((height, width))
        sizes = [int(k) for k in self.quantizer.codebook_sizes]
        bits = sum(math.log2(k) for k in sizes)
        return {
            "tokens": [rows, columns, len(sizes)],
            "codebook_sizes": sizes,
            "bits_per_position": bits,
            "bits_per_image": rows * columns * bits,
            "bits_per_pixel": rows * columns * bits / (height * width),
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

    def sha256(self) -> str:
        """A hash of every weight and persistent buffer, by name; the same on every device and memory layout."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save_pretrained(self, folder: str | PathLike[str], license: str | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

        The folder's old files stay whole until the new ones are written; a README that somebody wrote stays.
        ``license`` is named in the card where it is given.
        """
        storage.save(self, folder, license)

    @classmethod
    def from_pretrained(cls, source: str | PathLike[str], revision: str | None = None) -> Tokenizer:
        """Read a folder, or a repository of the Hugging Face hub such as ``name/repository``, in evaluation mode.

        Raises:
            TokbenchError: nothing there, a missing file, or weights that do not fit the configuration.
        """
        return storage.load(cls, source, revision)

    def push_to_hub(
        self, repository: str, private: bool = False, message: str = "Upload a tokenizer", license: str | None = None
    ) -> str:
        """Upload weights, configuration and model card to the Hugging Face hub; the answer is the commit's address.

        Raises:
            TokbenchError: the hub does not answer or does not take it.
        """
        return storage.push(self, repository, private, message, license)


def _build_quantizer(config: QuantizerConfig, channels: int | None, default: int) -> quantizers.Quantizer:
    """The quantizer with ``channels`` inputs; without a number, its own where it has one, else ``default``."""
    options = dict(config.options)
    if "dim" in options:
        raise TokbenchError("quantizer.dim: say model.code_channels instead, which the encoder shares")
    try:
        if channels is None and not _has_own_dim(config.name):
            channels = default
        if channels is not None:
            options["dim"] = channels
        return quantizers.build(config.name, channel_first=True, **options)
    except (ValueError, TypeError, KeyError) as error:
        raise TokbenchError(f"quantizer {config.name!r}: {error}") from error


def _has_own_dim(name: str) -> bool:
    """Whether the quantizer finds its number of channels by itself (an LFQ's bits, an FSQ's levels)."""
    if ":" in name:  # a wrapped class of another library, which always needs telling
        return False
    parameter = inspect.signature(quantizers.get(name)).parameters.get("dim")
    return parameter is not None and parameter.default is None


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def pad_to_multiple(images: Tensor, factor: int | tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) right and below to multiples of ``factor`` (one for both sides, or one each); also the (H, W)
    to crop the result back to.

    The border is mirrored, or its last row and column repeated where the image is too small to mirror.
    """
    height, width = images.shape[-2:]
    down, across = _sides(factor)
    below, right = -height % down, -width % across
    if not below and not right:
        return images, (height, width)
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, below), mode=mode), (height, width)


def side_in_pixels(asked: int | None, own: int, downsampling: int, option: str) -> int:
    """The side that was asked for, or the tokenizer's own. Raises TokbenchError when it makes no whole codes."""
    side = own if asked is None else asked
    if side < downsampling or side % downsampling:
        lower = max(side // downsampling, 1) * downsampling
        raise TokbenchError(
            f"{option} {side} is not a multiple of the tokenizer's downsampling {downsampling}; "
            f"nearest: {lower}, {lower + downsampling}"
        )
    return side
