"""Which files are images by their names: those that are read, and those that are passed over and said to be."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable

from PIL import Image, TiffImagePlugin

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "ICO", "TGA", "HEIF")
"""Pillow's names of what is read. It knows more, where nobody keeps photographs; for PostScript it runs a program."""

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .jpf "
    ".tga .avif .heic .heif .hif".split()
)
"""Names' ends, in lower case, of the files that are read."""

MAP_SUFFIXES = SUFFIXES | {".npy"}
"""The same of files that hold maps of numbers."""

_MODERN = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}
"""Those that not every installation reads."""

_RAW = ".dng .cr2 .cr3 .nef .nrw .arw .orf .rw2 .raf .pef .srw .x3f".split()
_OTHERS = (
    ".jxl .jxr .wdp .heics .avifs .svg .svgz .psd .psb .xcf .eps .ico .icns .cur .pcx .dds .emf .wmf .exr .hdr .pfm "
    ".fits .dcm .sgi .qoi .pic .pam .jls".split()
)
_WHY = dict.fromkeys(_RAW, "raw camera files are not read: develop them first") | {
    suffix: f"{suffix} files are not read: convert them to PNG or JPEG" for suffix in _OTHERS
}


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that this Pillow was built with; HEIF where pillow-heif is installed."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    Image.init()
    # Grey with premultiplied alpha: Pillow before 13 can decode it but does not know it by its tags.
    for order in (b"II", b"MM"):
        TiffImagePlugin.OPEN_INFO.setdefault((order, 1, (1,), 1, (8, 8), (1,)), ("La", "La"))
    return tuple(name for name in FORMATS if name in Image.OPEN)


def suffix_of(name: str) -> str:
    """``a/b.JPG`` -> ``.jpg``; empty where there is none or the file is hidden (macOS puts ``._b.jpg`` beside it)."""
    base = name.rpartition("/")[2]
    stem, dot, end = base.rpartition(".")
    return f".{end.lower()}" if stem and dot and not base.startswith(".") else ""


def passed_over(suffix: str) -> str | None:
    """Why files that end so (``.heic``) are not read although they are images; None for what is read or is none."""
    if suffix in _MODERN and _MODERN[suffix] not in readable_formats():
        if _MODERN[suffix] == "HEIF":
            return f"{suffix} needs pillow-heif: pip install 'tokbench[heif]'"
        return f"{suffix} needs a newer Pillow: pip install -U pillow"
    return _WHY.get(suffix)


def tally(problems: Iterable[tuple[str, str]]) -> str:
    """(path, reason) -> one line for an error: how often each reason, the first path with it."""
    found = list(problems)
    counts = Counter(reason for _, reason in found)
    first = {reason: path for path, reason in reversed(found)}
    more = {reason: f" and {n - 1} more" if n > 1 else "" for reason, n in counts.items()}
    return "; ".join(f"{first[reason]}{more[reason]}: {reason}" for reason in counts)
