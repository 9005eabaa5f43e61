"""The captioned images everyone has: 1,377 emoji with their names, in the package, under a licence that lets them be
passed on. No network.

Held out are 60 names of two words or more whose every word stands in at least three names that are trained on ("blue
heart", where "blue square" and "red heart" are not held out): new combinations of known words. ``emoji:1`` and further
numbers hold out up to 60 others by the same rule, drawn by that number: for a score on names that no setting was chosen
by.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
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
HELD_OUT, LEFT = 60, 3  # names at most, and names that are trained on for each of their words

FILES = {
    "emoji.webp": "77d4851f61e74930806d7543c58de789ae75597c620c99e280aa3d5c2f617af4",
    "captions.tsv": "e705c83793fda805c677bea111d1875754dec41b9234e9a0a2f263529e25d028",
}
"""The sheet of glyphs, row by row, and a line (name, split) for each; ``LICENCES.md`` says where they come from."""


@register(
    {
        "emoji": "1,377 emoji with their names as captions, which ship with tokbench; needs no network",
        "emoji:N": "the same with other names held out: new combinations of known words again, drawn by the number",
    },
    (IMAGES,),
)
def open_emoji(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset:
    """``emoji``, or ``emoji:N`` with N from 1. Its held-out names are part of what it is."""
    if rest and not re.fullmatch("[1-9][0-9]{0,8}", rest):
        raise TokbenchError(f"{source}: after the colon stands a number from 1 on, which draws the names held out")
    images = Emoji(split, view, int(rest or 0))
    images.select([k for k in range(len(images.names)) if (k in images.held_out) == (split == "eval")], limit)
    return images


def drawn(names: Sequence[str], usual: set[int], seed: int) -> set[int]:
    """Positions of the names that a seed holds out, none of the ``usual`` ones. Names go in the order of a hash, each
    that leaves its words enough others."""
    words = [set(re.findall(r"\w+", name.lower())) for name in names]
    known = Counter(word for found in words for word in found)
    chosen: set[int] = set()
    for k in sorted(range(len(names)), key=lambda k: digest("held out", str(seed), names[k])):
        if k in usual or len(words[k]) < 2 or any(known[word] <= LEFT for word in words[k]) or len(chosen) == HELD_OUT:
            continue
        known.subtract(words[k])
        chosen.add(k)
    return chosen


class Emoji(WholePictures):
    """The glyphs of one split; a glyph's id is its name. Of seed 0 the usual names are held out."""

    def __init__(self, split: Split, view: View, seed: int = 0) -> None:
        super().__init__(f"emoji:{seed}" if seed else "emoji", split, view)
        lines = [line.split("\t") for line in _file("captions.tsv").decode().splitlines()]
        self.names = [name for name, _ in lines]
        usual = {k for k, (_, of) in enumerate(lines) if of == "eval"}
        self.held_out = drawn(self.names, usual, seed) if seed else usual

    def name(self, position: int) -> str:
        return self.names[position]

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
