"""An image or a clip to a ``.tokb`` file and back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from tokbench.codes.cache import CodeCache
from tokbench.config.architecture import ImageArchitecture
from tokbench.config.grid import axes
from tokbench.config.kind import SHOWN
from tokbench.config.video_model import VideoArchitecture
from tokbench.data import UnreadableImage, read_image, to_float
from tokbench.data.film import Film
from tokbench.data.pixels import to_channels
from tokbench.errors import TokbenchError, printable
from tokbench.generators.base import Generator
from tokbench.generators.building import image_size
from tokbench.generators.coder import HistogramCoder, ModelCoder
from tokbench.generators.condition import ClassCondition
from tokbench.generators.rate import entropy_bits, fixed_bits, model_bits
from tokbench.generators.tokb import Tokb, codes_crc
from tokbench.models import Tokenizer, pad_to_multiple

Histogram = list[np.ndarray]

MOST_PIXELS = 2 * 89_478_485
"""Larger images cannot be read in (Pillow's limit), so no file holds one."""


@dataclass(frozen=True)
class Compressed:
    """Sizes in bits: ``predicted_bits`` is what the model says the codes cost, ``payload_bits`` what was
    written, ``entropy_bits`` the order-0 entropy of these very codes: plug-in, so of few codes too low."""

    file_bits: int
    payload_bits: int
    predicted_bits: float
    entropy_bits: float
    fixed_bits: float
    pixels: int


class Codec:
    """A tokenizer with either a generator or a histogram of its codes (``CodeCache.histogram``).

    An image of any size is padded to whole tiles, encoded at once, and its code map cut into the tiles that the
    generator models, one independent of the other; so the image has no seams. A clip is cut in time into windows of
    the generator's or the tokenizer's frames, each encoded on its own; its last frame is repeated to fill the last.

    Raises:
        TokbenchError: neither or both given, or one that does not fit the tokenizer.
    """

    def __init__(
        self, tokenizer: Tokenizer, generator: Generator | None = None, histogram: Histogram | None = None
    ) -> None:
        if (generator is None) == (histogram is None):
            raise TokbenchError("compress needs a generator or a histogram of the codes, one of the two")
        self.tokenizer, self.generator, self.histogram = tokenizer, generator, histogram
        model = tokenizer.config.model
        self.of_clips = isinstance(model, VideoArchitecture)
        if not isinstance(model, ImageArchitecture | VideoArchitecture):
            raise TokbenchError(
                "compress is for tokenizers that turn an image of any size into a map of codes; "
                f"{model.architecture} does not"
            )
        if tokenizer.quantizer.latent_grid is not None:
            raise TokbenchError(f"compress is for maps of codes, and {tokenizer.quantizer.name} makes a row of scales")
        if tokenizer.quantizer.position_sizes((1,)):
            raise TokbenchError(
                f"compress cuts maps of any size into tiles, and the codes of {tokenizer.quantizer.name} depend on "
                "where in the whole map they stand"
            )
        if generator is not None and not isinstance(generator.condition, ClassCondition):
            raise TokbenchError("compress is for generators of classes or without a condition; a file has no other")
        quantizer: Any = tokenizer.quantizer
        self.quantizer = quantizer
        if generator is not None:
            self.tile = generator.grid[-2:]
            self.window = axes(image_size(generator, tokenizer))[0] if self.of_clips else 0
            self.coder: ModelCoder | HistogramCoder = ModelCoder(generator)
            self.model = generator.sha256()[:8]
        else:
            assert histogram is not None
            sizes = [int(k) for k in quantizer.codebook_sizes]
            if (given := [len(counts) for counts in histogram]) != sizes:
                raise TokbenchError(f"the histogram is of vocabularies {given}, the tokenizer's are {sizes}")
            self.tile, self.coder = (1, 1), HistogramCoder(histogram)
            own = axes(tokenizer.config.image_size)
            self.window = (own[0] if len(own) == 3 else 1 + 4 * model.factors[0]) if self.of_clips else 0
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(c, dtype="<i8").tobytes() for c in histogram))
            self.model = digest.hexdigest()[:8]
        self.multiple = (self.tile[0] * model.factors[-2], self.tile[1] * model.factors[-1])

    @torch.no_grad()
    def encode(self, image: Tensor | Film) -> Tensor:
        """Float (1, C, H, W) or (1, C, T, H, W) in [-1, 1], or a film, whose windows are read one by one -> the
        tokenizer's codes of what was padded, int64 (1, h, w, D), or (n, t, h, w, D) of n windows."""
        device = next(self.tokenizer.parameters()).device
        if isinstance(image, Tensor) and not self.of_clips:
            return self.tokenizer.encode(pad_to_multiple(image, self.multiple)[0].to(device)).cpu()
        found = []
        for window in self._windows(image):
            last = window[:, :, -1:].expand(-1, -1, self.window - window.shape[2], -1, -1)
            frames = torch.cat([window, last], dim=2)[0].transpose(0, 1)
            padded = pad_to_multiple(frames, self.multiple)[0].transpose(0, 1)
            found.append(self.tokenizer.encode(padded[None].to(device)).cpu())
        return torch.cat(found)

    def _windows(self, clip: Tensor | Film) -> Iterator[Tensor]:
        """Float (1, C, t, H, W), the last one perhaps shorter."""
        if isinstance(clip, Tensor):
            yield from clip.split(self.window, dim=2)
            return
        for piece in clip.pieces(self.window, self.window):
            frames = to_channels(piece.transpose(0, 1), self.tokenizer.config.channels)
            yield to_float(frames.transpose(0, 1).contiguous())[None]

    def write(self, image: Tensor | Film, path: Path, label: int = -1, fps: Fraction = Fraction(25)) -> Compressed:
        """Compress a float image (1, C, H, W), or a clip (1, C, T, H, W), in [-1, 1], or a film, into ``path``."""
        self._check_axes(path, image)
        size = image.shape[2:] if isinstance(image, Tensor) else image.size
        codes = self.encode(image)
        positions = codes[..., 0].numel()
        if isinstance(self.coder, ModelCoder):
            assert self.generator is not None
            tiles = self._tiles(codes)
            labels = torch.full((len(tiles),), label)
            words = self.coder.encode(tiles, labels)
            predicted = float(model_bits(self.generator, tiles, labels).sum())
        else:
            words, predicted = self.coder.encode(codes), self.coder.bits(codes)
        self._check_length(path, words, positions)
        file = Tokb(
            mode="generator" if self.generator is not None else "histogram",
            tokenizer=self.tokenizer.sha256()[:8],
            model=self.model,
            height=size[-2],
            width=size[-1],
            label=label,
            codes_crc=codes_crc(codes),
            words=words,
            frames=size[0] if self.of_clips else 0,
            window=self.window,
            fps=fps,
        )
        written = file.write(path)
        sizes = tuple(int(k) for k in self.quantizer.codebook_sizes)
        entropy, fixed = len(codes) * entropy_bits(codes), fixed_bits(sizes, positions)
        return Compressed(8 * written, 32 * len(words), predicted, entropy, fixed, math.prod(size))

    def read_codes(self, path: Path) -> tuple[Tensor, tuple[int, ...]]:
        """The codes of a file, as ``encode`` made them, and (H, W) of its image or (T, H, W) of its clip.

        Raises:
            TokbenchError: a damaged file, one of another tokenizer, generator or histogram, or codes that come out
                otherwise than they went in.
        """
        file = Tokb.read(path)
        mine = "generator" if self.generator is not None else "histogram"
        if file.tokenizer != self.tokenizer.sha256()[:8]:
            raise TokbenchError(f"{path}: written with another tokenizer (weights {file.tokenizer})")
        if file.mode != mine:
            raise TokbenchError(f"{path}: coded under a {file.mode}, and a {mine} was given")
        if file.model != self.model:
            raise TokbenchError(f"{path}: coded under another {mine} ({file.model}, this one is {self.model})")
        if file.height * file.width > MOST_PIXELS or bool(file.frames) != self.of_clips:
            raise TokbenchError(f"{path}: damaged: an image of {file.width}x{file.height}; copy it again")
        if self.of_clips and file.window != self.window:
            raise TokbenchError(f"{path}: windows of {file.window} frames, and these models have {self.window}")
        down, across = -(-file.height // self.multiple[0]), -(-file.width // self.multiple[1])
        rows, columns = down * self.tile[0], across * self.tile[1]
        shape: tuple[int, ...] = (1, rows, columns)
        if self.of_clips:
            of_window = self.tokenizer.config.model.grid((self.window, *self.multiple))[0]
            shape = (-(-file.frames // self.window), of_window, rows, columns)
        self._check_length(path, file.words, math.prod(shape))
        try:
            if isinstance(self.coder, ModelCoder):
                # Files of an unconditional generator could name a class once, which had no effect.
                label = file.label if self.coder.model.config.num_classes else -1
                codes = self._untiled(self.coder.decode(file.words, shape[0] * down * across, label), down, across)
            else:
                codes = self.coder.decode(file.words, shape)
        except TokbenchError as error:  # a class that the generator does not have
            raise TokbenchError(f"{path}: {error}") from None
        except (AssertionError, ValueError) as error:  # constriction's, for words that stand for no codes
            raise TokbenchError(f"{path}: damaged ({printable(str(error), 100)}); copy it again") from None
        if codes_crc(codes) != file.codes_crc:
            raise TokbenchError(
                f"{path}: the codes came out otherwise than they went in: this machine or version of torch computes "
                "other probabilities; decompress where it was compressed"
            )
        return codes, (*([file.frames] if self.of_clips else []), file.height, file.width)

    def _check_axes(self, path: Path, image: Tensor | Film) -> None:
        shape = tuple(image.shape) if isinstance(image, Tensor) else (1, 3, *image.size)
        if (len(shape) == 5) != self.of_clips:
            wanted = "clips (1, C, T, H, W)" if self.of_clips else "images (1, C, H, W)"
            raise TokbenchError(f"{path}: the tokenizer takes {wanted}, not {shape}")

    def _check_length(self, path: Path, words: np.ndarray, positions: int) -> None:
        """TokbenchError where so few words cannot be so many codes: decoding them could take days for nothing."""
        if isinstance(self.coder, HistogramCoder):
            least = positions * self.coder.least_bits
        else:  # no model that has learned anything gets below this
            least = (positions * len(self.quantizer.subcode_sizes) - 2**16) / 1000
        if least > 32 * len(words) + 64:  # what the coder holds back at its end
            size = 4 * len(words)
            raise TokbenchError(f"{path}: {size} bytes cannot be {positions:,} positions: damaged; copy it again")

    def read(self, path: Path) -> Tensor:
        """The image of a file, float (1, C, H, W), or its clip (1, C, T, H, W), not clamped."""
        return torch.cat(list(self.read_windows(path)), dim=2 if self.of_clips else 0)

    @torch.no_grad()
    def read_windows(self, path: Path) -> Iterator[Tensor]:
        """The same, of a clip window by window, (1, C, t, H, W)."""
        codes, (*frames, height, width) = self.read_codes(path)
        device, done = next(self.tokenizer.parameters()).device, 0
        for part in codes.split(1):
            made = self.tokenizer.decode(part.to(device))[..., :height, :width].cpu()
            yield made[:, :, : frames[0] - done] if frames else made
            done += self.window

    def _tiles(self, codes: Tensor) -> Tensor:
        """Codes (n, *t, h, w, D) -> generator codes (n, *t, H, W, D'), tiles in raster order, window by window."""
        height, width = self.tile
        sub = self.quantizer.subcodes(codes)
        return rearrange(sub, f"n {self._time} (i h) (j w) d -> (n i j) {self._time} h w d", h=height, w=width)

    def _untiled(self, tiles: Tensor, down: int, across: int) -> Tensor:
        pattern = f"(n i j) {self._time} h w d -> n {self._time} (i h) (j w) d"
        return self.quantizer.join(rearrange(tiles, pattern, i=down, j=across))

    @property
    def _time(self) -> str:
        return "t" if self.of_clips else ""


def open_codec(generator: str | None, histogram: Path | None, tokenizer: str | None, device: str = "cpu") -> Codec:
    """A codec from a generator's folder or from a code cache's; see :class:`Codec`.

    Raises:
        TokbenchError: neither or both, a cache of another tokenizer, or no tokenizer to go with a histogram.
    """
    from tokbench.generators.pipeline import Pipeline

    if (generator is None) == (histogram is None):
        raise TokbenchError("give either --generator or --histogram")
    if generator is not None:
        pair = Pipeline.load(generator, tokenizer)
        _check_kind(pair.tokenizer, generator)
        return Codec(pair.tokenizer.to(device), generator=pair.generator)
    assert histogram is not None
    if tokenizer is None:
        raise TokbenchError("--histogram needs --tokenizer, the tokenizer whose codes the cache holds")
    cache, model = CodeCache(histogram, "train"), Tokenizer.from_pretrained(tokenizer)
    cache.check_tokenizer(model.sha256(), tokenizer)
    _check_kind(model, tokenizer)
    return Codec(model.to(device), histogram=cache.histogram)


def _check_kind(tokenizer: Tokenizer, source: str) -> None:
    if (kind := tokenizer.config.kind) != "image":
        raise TokbenchError(f"{source}: a tokenizer of {SHOWN[kind]}, and images are compressed")


def read_picture(path: Path, channels: int = 3) -> Tensor:
    """An image file as float (1, channels, H, W) in [-1, 1]: RGB, or grey."""
    try:
        return to_float(read_image(path, channels, any_shape=True))[None]
    except UnreadableImage as error:
        raise TokbenchError(f"{path}: {error.reason}") from None
