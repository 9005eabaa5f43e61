"""An image to a ``.tokb`` file and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from tokbench.codes.cache import CodeCache
from tokbench.config.architecture import ImageArchitecture
from tokbench.data import UnreadableImage, read_image, to_float
from tokbench.errors import TokbenchError, printable
from tokbench.generators.base import Generator
from tokbench.generators.coder import HistogramCoder, ModelCoder
from tokbench.generators.condition import ClassCondition
from tokbench.generators.rate import fixed_bits, model_bits
from tokbench.generators.tokb import Tokb, codes_crc
from tokbench.models import Tokenizer, pad_to_multiple

Histogram = list[np.ndarray]

MOST_PIXELS = 2 * 89_478_485
"""Larger images cannot be read in (Pillow's limit), so no file holds one."""


@dataclass(frozen=True)
class Compressed:
    """Sizes in bits: ``predicted_bits`` is what the model says the codes cost, ``payload_bits`` what was written."""

    file_bits: int
    payload_bits: int
    predicted_bits: float
    fixed_bits: float
    pixels: int


class Codec:
    """A tokenizer with either a generator or a histogram of its codes (``CodeCache.histogram``).

    An image of any size is padded to whole tiles, encoded at once, and its code map cut into the tiles that the
    generator models, one independent of the other; so the image has no seams.

    Raises:
        TokbenchError: neither or both given, or one that does not fit the tokenizer.
    """

    def __init__(
        self, tokenizer: Tokenizer, generator: Generator | None = None, histogram: Histogram | None = None
    ) -> None:
        if (generator is None) == (histogram is None):
            raise TokbenchError("compress needs a generator or a histogram of the codes, one of the two")
        self.tokenizer, self.generator, self.histogram = tokenizer, generator, histogram
        if not isinstance(tokenizer.config.model, ImageArchitecture):
            raise TokbenchError(
                "compress is for tokenizers that turn an image of any size into a map of codes; "
                f"{tokenizer.config.model.architecture} does not"
            )
        if generator is not None and not isinstance(generator.condition, ClassCondition):
            raise TokbenchError("compress is for generators of classes or without a condition; a file has no other")
        quantizer: Any = tokenizer.quantizer
        self.quantizer = quantizer
        if generator is not None:
            self.tile = generator.grid
            self.coder: ModelCoder | HistogramCoder = ModelCoder(generator)
            self.model = generator.sha256()[:8]
        else:
            assert histogram is not None
            sizes = [int(k) for k in quantizer.codebook_sizes]
            if (given := [len(counts) for counts in histogram]) != sizes:
                raise TokbenchError(f"the histogram is of vocabularies {given}, the tokenizer's are {sizes}")
            self.tile, self.coder = (1, 1), HistogramCoder(histogram)
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(c, dtype="<i8").tobytes() for c in histogram))
            self.model = digest.hexdigest()[:8]
        self.multiple = (self.tile[0] * tokenizer.downsampling, self.tile[1] * tokenizer.downsampling)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Float (1, C, H, W) in [-1, 1] -> the tokenizer's codes of the padded image, int64 (1, h, w, D)."""
        padded, _ = pad_to_multiple(image, self.multiple)
        device = next(self.tokenizer.parameters()).device
        return self.tokenizer.encode(padded.to(device)).cpu()

    def write(self, image: Tensor, path: Path, label: int = -1) -> Compressed:
        """Compress a float image (1, C, H, W) in [-1, 1] into ``path``."""
        codes = self.encode(image)
        _, rows, columns, _ = codes.shape
        if isinstance(self.coder, ModelCoder):
            assert self.generator is not None
            tiles = self._tiles(codes)
            labels = torch.full((len(tiles),), label)
            words = self.coder.encode(tiles, labels)
            predicted = float(model_bits(self.generator, tiles, labels).sum())
        else:
            words, predicted = self.coder.encode(codes), self.coder.bits(codes)
        self._check_length(path, words, rows * columns)
        file = Tokb(
            mode="generator" if self.generator is not None else "histogram",
            tokenizer=self.tokenizer.sha256()[:8],
            model=self.model,
            height=image.shape[-2],
            width=image.shape[-1],
            label=label,
            codes_crc=codes_crc(codes),
            words=words,
        )
        size = file.write(path)
        sizes = tuple(int(k) for k in self.quantizer.codebook_sizes)
        pixels = image.shape[-2] * image.shape[-1]
        return Compressed(8 * size, 32 * len(words), predicted, fixed_bits(sizes, rows * columns), pixels)

    def read_codes(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        """The codes (1, h, w, D) of a file and the image's height and width.

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
        if file.height * file.width > MOST_PIXELS:
            raise TokbenchError(f"{path}: damaged: an image of {file.width}x{file.height}; copy it again")
        height, width = self.tile
        rows = -(-file.height // self.multiple[0]) * height
        columns = -(-file.width // self.multiple[1]) * width
        self._check_length(path, file.words, rows * columns)
        try:
            if isinstance(self.coder, ModelCoder):
                n = rows // height * (columns // width)
                # Files of an unconditional generator could name a class once, which had no effect.
                label = file.label if self.coder.model.config.num_classes else -1
                codes = self._untiled(self.coder.decode(file.words, n, label), rows, columns)
            else:
                codes = self.coder.decode(file.words, (1, rows, columns))
        except TokbenchError as error:  # a class that the generator does not have
            raise TokbenchError(f"{path}: {error}") from None
        except (AssertionError, ValueError) as error:  # constriction's, for words that stand for no codes
            raise TokbenchError(f"{path}: damaged ({printable(str(error), 100)}); copy it again") from None
        if codes_crc(codes) != file.codes_crc:
            raise TokbenchError(
                f"{path}: the codes came out otherwise than they went in: this machine or version of torch computes "
                "other probabilities; decompress where it was compressed"
            )
        return codes, (file.height, file.width)

    def _check_length(self, path: Path, words: np.ndarray, positions: int) -> None:
        """TokbenchError where so few words cannot be so many codes: decoding them could take days for nothing."""
        if isinstance(self.coder, HistogramCoder):
            least = positions * self.coder.least_bits
        else:  # no model that has learned anything gets below this
            least = (positions * len(self.quantizer.subcode_sizes) - 2**16) / 1000
        if least > 32 * len(words) + 64:  # what the coder holds back at its end
            size = 4 * len(words)
            raise TokbenchError(f"{path}: {size} bytes cannot be {positions:,} positions: damaged; copy it again")

    @torch.no_grad()
    def read(self, path: Path) -> Tensor:
        """The image of a file, float (1, C, H, W), not clamped."""
        codes, (height, width) = self.read_codes(path)
        device = next(self.tokenizer.parameters()).device
        return self.tokenizer.decode(codes.to(device))[..., :height, :width].cpu()

    def _tiles(self, codes: Tensor) -> Tensor:
        """Codes (1, h, w, D) -> generator codes (n, H, W, D'), tiles in raster order."""
        height, width = self.tile
        sub = self.quantizer.subcodes(codes)
        return rearrange(sub, "1 (i h) (j w) d -> (i j) h w d", h=height, w=width)

    def _untiled(self, tiles: Tensor, rows: int, columns: int) -> Tensor:
        down, across = rows // self.tile[0], columns // self.tile[1]
        return self.quantizer.join(rearrange(tiles, "(i j) h w d -> 1 (i h) (j w) d", i=down, j=across))


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
        return Codec(pair.tokenizer.to(device), generator=pair.generator)
    assert histogram is not None
    if tokenizer is None:
        raise TokbenchError("--histogram needs --tokenizer, the tokenizer whose codes the cache holds")
    cache, model = CodeCache(histogram, "train"), Tokenizer.from_pretrained(tokenizer)
    cache.check_tokenizer(model.sha256(), tokenizer)
    return Codec(model.to(device), histogram=cache.histogram)


def read_picture(path: Path, channels: int = 3) -> Tensor:
    """An image file as float (1, channels, H, W) in [-1, 1]: RGB, or grey."""
    try:
        return to_float(read_image(path, channels, any_shape=True))[None]
    except UnreadableImage as error:
        raise TokbenchError(f"{path}: {error.reason}") from None
