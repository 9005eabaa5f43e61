"""The captioned images everyone has: 1,377 emoji with their names, in the package, under a licence that lets them be
passed on. No network.

Held out are 60 names of two words or more whose every word stands in at least three names that are trained on ("blue
heart", where "blue circle" and "red heart" are not held out): new combinations of known words.
"""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path

from PIL import Image

from tokbench.data.base import ImageDataset, Split, digest
from tokbench.data.crops import View
from tokbench.data.media import IMAGES
from tokbench.data.registry import register
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError

FOLDER = Path(__file__).parent / "builtin_emoji"
SIDE, COLUMNS = 64, 40  # of a glyph in pixels, and of the sheet in glyphs

FILES = {
    "emoji.webp": "77d4851f61e74930806d7543c58de789ae75597c620c99e280aa3d5c2f617af4",
    "captions.tsv": "e705c83793fda805c677bea111d1875754dec41b9234e9a0a2f263529e25d028",
}
"""The sheet of glyphs, row by row, and a line (name, split) for each; ``LICENCES.md`` says where they come from."""


@register({"emoji": "1,377 emoji with their names as captions, which ship with tokbench; needs no network"}, (IMAGES,))
def open_emoji(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset:
    """``emoji``. Its held-out names are part of what it is."""
    images = Emoji(split, view)
    images.select([k for k, (_, of) in enumerate(images.lines) if of == split], limit)
    return images


class Emoji(WholePictures):
    """The glyphs of one split; a glyph's id is its name."""

    def __init__(self, split: Split, view: View) -> None:
        super().__init__("emoji", split, view)
        self.lines = [line.split("\t") for line in _file("captions.tsv").decode().splitlines()]

    def name(self, position: int) -> str:
        return self.lines[position][0]

    def caption(self, position: int) -> str:
        return self.name(position)

    def label(self, position: int) -> int:
        return -1

    def encoded(self, position: int) -> bytes:
        return _glyphs()[position]

    @property
    def content(self) -> str:
        """The files' own hashes."""
        return digest("emoji", *FILES.values())

    @property
    def store(self) -> str:
        return self.content


def _file(name: str) -> bytes:
    """A file's bytes. Raises TokbenchError where it is not there or another one."""
    file = FOLDER / name
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        what = "is not the file that tokbench ships" if content else "is missing"
        raise TokbenchError(f"the built-in emoji are not there: {file} {what}; reinstall the package")
    return content


@functools.lru_cache(maxsize=1)
def _glyphs() -> list[bytes]:
    """Every glyph as a PPM file: PNG's bytes, and with them the fingerprint, would depend on the machine's zlib."""
    with Image.open(io.BytesIO(_file("emoji.webp"))) as image:
        sheet = image.convert("RGB")
    corners = [(x, y) for y in range(0, sheet.height, SIDE) for x in range(0, COLUMNS * SIDE, SIDE)]
    return [b"P6 %d %d 255\n" % (SIDE, SIDE) + sheet.crop((x, y, x + SIDE, y + SIDE)).tobytes() for x, y in corners]
