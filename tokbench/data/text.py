"""Rendered text, whose words are known exactly: lines of random words in fonts that ship with matplotlib. No network.

An image holds one font at one size, black on white, at the size of a sample, so that nothing is scaled. Which words,
and where they stand, follows from the seed, the split and the image's number alone. The size is the image's class, its
words are its caption.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, features

from tokbench.config.grid import axes
from tokbench.data.base import ImageDataset, Split, digest
from tokbench.data.crops import View
from tokbench.data.draws import below, uniforms
from tokbench.data.media import IMAGES
from tokbench.data.registry import register
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError, size_text

SIZES = (8, 10, 12, 14, 16, 20, 24, 32)
"""Of the fonts, in pixels an em: capitals are three quarters as high, an x half."""

FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "STIXGeneral.ttf")

WORDS = (
    "the and for you not are but had his her was one our out day get has him how man new now old see two way who boy "
    "did its let put say she too use able back bear beat bird blue boat book city cold come corn dark deep door down "
    "each east even face farm fast feet find fire fish five food form four from gave girl give gold good grew half "
    "hand hard head hear help here high hold home hour idea just keep kind king knew know land last late lead left "
    "life line list live long look made main make many mark mind miss moon more most move much must name near need "
    "next night north often order paper party place plain plant point pound power press quick quiet reach right river "
    "round serve seven shape sharp short since sleep small sound south space speak spell stand start state still "
    "stone story study table teach thing think third those three today touch toward train travel under until usual "
    "value voice watch water weather wheel where which white whole window winter wonder world would write yellow young"
).split()

IMAGES_OF_A_SIZE = {"train": 256, "eval": 24}
_LINES, _ENOUGH = 4, 3  # at most so many lines; the room of a line in ems, below which a size is left out
_CAPITALS, _NUMBERS = 0.2, 0.15  # the share of words that begin with a capital, and of numbers in their place


class Written(NamedTuple):
    """What an image says: ``text`` in one line, ``size`` of the font in pixels."""

    text: str
    size: int


class Layout(NamedTuple):
    """The lines of an image, and where the first begins."""

    lines: tuple[str, ...]
    left: int
    top: int


@register(
    {
        "text": "lines of random words, 8 to 32 pixels high, which text_accuracy reads; needs no network",
        "text:SEED": "the same with other words",
    },
    (IMAGES,),
)
def open_text(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset:
    """``text``, or ``text:SEED``. The sizes are those for which an image has room."""
    if rest and not (rest.isascii() and rest.isdigit() and len(rest) <= 9):
        raise TokbenchError(f"{source!r}: the seed must be a whole number below 10^9, as in text:1")
    images = TextImages(source, split, view, int(rest or 0))
    images.select(range(len(images.sizes) * IMAGES_OF_A_SIZE[split]), limit)
    return images


class TextImages(WholePictures):
    """The images of one split, from the smallest text to the largest."""

    def __init__(self, source: str, split: Split, view: View, seed: int) -> None:
        super().__init__(source, split, view)
        self.shape, self.seed, self.stream = axes(view.image_size), seed, ("train", "eval").index(split)
        high, wide = self.shape
        self.sizes = [s for s in SIZES if min(high - _highest(s), wide - _ENOUGH * s) >= 2 * _margin(s)]
        if not self.sizes:
            raise TokbenchError(
                f"{source}: images of {size_text(view.image_size)} have no room for text of {SIZES[0]} pixels; "
                f"{_ENOUGH * SIZES[0] + 2 * _margin(SIZES[0])} a side are enough"
            )
        self.classes = [f"{size} px" for size in self.sizes]

    def name(self, position: int) -> str:
        return f"{self.written(position).size}px-{position % IMAGES_OF_A_SIZE[self.split]:03d}"

    def label(self, position: int) -> int:
        return position // IMAGES_OF_A_SIZE[self.split]

    def caption(self, position: int) -> str:
        return self.written(position).text

    def truth(self, index: int) -> Written:
        return self.written(int(self.kept[index]))

    def written(self, position: int) -> Written:
        """What stands at a position."""
        return Written(" ".join(self._laid_out(position).lines), self.sizes[self.label(position)])

    def encoded(self, position: int) -> bytes:
        """A PGM file: PNG's bytes, and with them the fingerprint, would depend on the machine's zlib."""
        lines, left, top = self._laid_out(position)
        font, step = _font(position, self.sizes[self.label(position)])
        high, wide = self.shape
        image = Image.new("L", (wide, high), 255)
        for number, line in enumerate(lines):
            ImageDraw.Draw(image).text((left, top + number * step), line, fill=0, font=font)
        return b"P5 %d %d 255\n" % image.size + image.tobytes()

    def _laid_out(self, position: int) -> Layout:
        return _layout(self.seed, self.stream, int(position), self.sizes[self.label(position)], self.shape)

    @property
    def content(self) -> str:
        """What the pixels depend on: the fonts, the program that draws them, and the choices of this file."""
        drawn_by = f"FreeType {features.version('freetype2')}"
        return digest("text 1", str(self.seed), drawn_by, *(_digest(name) for name in FONTS))

    @property
    def store(self) -> str:
        return digest(self.content, self.split, str(self.shape))


@functools.lru_cache(maxsize=4096)
def _layout(seed: int, stream: int, position: int, size: int, shape: tuple[int, ...]) -> Layout:
    draws = _draws(seed, stream, position)
    margin, step, (high, wide) = _margin(size), _font(position, size)[1], shape
    room, count = wide - 2 * margin, min(_LINES, (high - 2 * margin) // step)
    lengths = functools.partial(_length, position % len(FONTS), size)
    fitting = [word for word in WORDS if lengths(word.capitalize()) <= room]
    lines: list[str] = []
    widest = 0.0
    while len(lines) < count:
        words = [_word(fitting, draws)]
        length = lengths(words[0])
        while (longer := length + lengths(" ") + lengths(word := _word(fitting, draws))) <= room:
            words.append(word)
            length = longer
        lines.append(" ".join(words))
        widest = max(widest, length)
    left, top = below(int(room - widest) + 1, next(draws)), below(high - 2 * margin - count * step + 1, next(draws))
    return Layout(tuple(lines), margin + left, margin + top)


@functools.cache
def _length(font: int, size: int, word: str) -> float:
    """In pixels."""
    return _font(font, size)[0].getlength(word)


def _draws(seed: int, stream: int, position: int) -> Iterator[float]:
    """Numbers in [0, 1) without end, others for each position of either split."""
    for block in itertools.count():
        yield from uniforms(32, seed, 2 * block + stream, position)


def _word(words: list[str], draws: Iterator[float]) -> str:
    kind, which, capital = next(draws), next(draws), next(draws)
    if kind < _NUMBERS:
        return str(10 + below(990, which))
    word = words[below(len(words), which)]
    return word.capitalize() if capital < _CAPITALS else word


def _margin(size: int) -> int:
    return max(2, size // 4)


def _highest(size: int) -> int:
    """The line of the font whose lines are the highest, in pixels."""
    return max(_font(font, size)[1] for font in range(len(FONTS)))


def _font(position: int, size: int) -> tuple[ImageFont.FreeTypeFont, int]:
    """The font of an image, and the pixels from line to line."""
    return _loaded(FONTS[position % len(FONTS)], size)


@functools.lru_cache(maxsize=len(FONTS) * len(SIZES))
def _loaded(name: str, size: int) -> tuple[ImageFont.FreeTypeFont, int]:
    font = ImageFont.truetype(str(_file(name)), size, layout_engine=ImageFont.Layout.BASIC)
    return font, sum(font.getmetrics())


@functools.cache
def _digest(name: str) -> str:
    return hashlib.sha256(_file(name).read_bytes()).hexdigest()


def _file(name: str) -> Path:
    """A font's file. Raises TokbenchError where it is not there."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    if not file.is_file():
        raise TokbenchError(f"the built-in fonts are not there: {file} is missing; reinstall matplotlib")
    return file
