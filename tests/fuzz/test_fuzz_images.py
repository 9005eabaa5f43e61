"""Image files: any bytes, through the folder source, ``reconstruct`` and what ``compress`` reads with."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import EXAMPLES, Refused, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tokbench.config.crop import CROPS
from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.data.crops import View
from tokbench.data.decode import load_image
from tokbench.errors import TokbenchError
from tokbench.generators.compression import read_picture
from tokbench.models import Tokenizer
from tokbench.reconstruction import reconstruct_files

LARGEST = 256 * 256  # pixels that are put through the tokenizer


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def originals() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 255, (24, 20, 3), dtype=np.uint8).repeat(2, 0))
    deep = Image.fromarray(random.integers(0, 65535, (16, 12), dtype=np.uint16))
    alpha, palette = rgb.convert("RGBA"), rgb.quantize(16)
    alpha.putalpha(100)
    frames = [rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT), rgb.rotate(9)]
    exif = Image.Exif()
    exif[0x0112] = 6
    animated = {"save_all": True, "append_images": frames}
    return {
        "png": encoded(rgb, "PNG"),
        "png palette": encoded(palette, "PNG", transparency=3),
        "png 16 bits": encoded(deep, "PNG"),
        "png bilevel": encoded(rgb.convert("1"), "PNG"),
        "png grey and alpha": encoded(alpha.convert("LA"), "PNG"),
        "png animated": encoded(rgb, "PNG", **animated),
        "png of one pixel": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "jpeg": encoded(rgb, "JPEG", quality=80),
        "jpeg turned": encoded(rgb, "JPEG", exif=exif, progressive=True),
        "jpeg grey": encoded(rgb.convert("L"), "JPEG"),
        "jpeg cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "webp": encoded(rgb, "WEBP", quality=70),
        "webp alpha": encoded(alpha, "WEBP", lossless=True),
        "webp animated": encoded(rgb, "WEBP", **animated),
        "gif animated": encoded(palette, "GIF", **animated),
        "tiff": encoded(deep, "TIFF"),
        "tiff packed": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "bmp": encoded(rgb, "BMP"),
        "ppm": encoded(rgb, "PPM"),
        "jp2": encoded(rgb, "JPEG2000"),
    }


def signed(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums again, so that what was changed in them is looked at."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        end = at + 8 + length
        if end + 4 > len(data):
            break
        out += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out) + data[at:]


FILES = originals()
pictures = st.builds(lambda data, sign: signed(data) if sign else data, damaged(list(FILES.values())), st.booleans())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    model = {"architecture": "vit", "patch_size": 4, "width": 8, "depth": 1, "heads": 1, "code_channels": 4}
    quantizer = {"name": "rq", "codebook_size": 8, "depth": 2}
    return Tokenizer(TokenizerConfig.model_validate({"image_size": 16, "model": model, "quantizer": quantizer})).eval()


@given(data=pictures, crop=st.sampled_from([*CROPS, "random"]), size=st.sampled_from((1, 8, 17)))
@fuzz
def test_decoding_and_cropping(space: Path, data: bytes, crop: str, size: int) -> None:
    def look() -> None:
        image = load_image(data, name="an image")
        assert image.mode == "RGB" and image.size > (0, 0)
        try:
            square = View(size, crop, flip=True)(image, 0, 0)
        except ValueError:  # crop none: not of that size; the sources say so of the image
            assert crop == "none"
        else:
            assert square.size == (size, size) and square.mode == "RGB"

    survives(look, space, "an image")


@given(data=st.binary(max_size=64) | pictures, suffix=st.sampled_from((".png", ".jpg", ".webp", ".JPEG", ".gif")))
@settings(fuzz, max_examples=max(10, EXAMPLES // 4))
def test_a_folder(space: Path, data: bytes, suffix: str) -> None:
    folder = space / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "good.png").write_bytes(FILES["png"])
    path = folder / f"fuzzed{suffix}"
    path.write_bytes(data)

    def look() -> list[str]:
        images = open_images(f"folder:eval={folder}", "eval", image_size=8)
        return [images[i]["id"] for i in range(len(images))] + [name for name, _ in images.skipped]

    try:
        assert sorted(survives(look, space)) == [path.name, "good.png"]  # none is lost: used, or skipped and said so
    finally:
        path.unlink()


@given(data=pictures)
@settings(fuzz, max_examples=max(10, EXAMPLES // 10))
def test_reconstruct_and_compress(space: Path, tokenizer: Tokenizer, data: bytes) -> None:
    path = space / "own.png"
    path.write_bytes(data)
    picture = survives(lambda: read_picture(path), space, "own.png")
    if not isinstance(picture, Refused) and picture.shape[-1] * picture.shape[-2] > LARGEST:
        return
    (space / "out").mkdir(exist_ok=True)
    found = survives(lambda: reconstruct_files(tokenizer, [path], space / "out", depths=True), space / "out", "own.png")
    assert isinstance(found, Refused) == isinstance(picture, Refused)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: int = 1, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\0" * (1 + 3 * min(width, 10**6)) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text() -> bytes:
    packer = zlib.compressobj(1)
    unfolds = b"".join([packer.compress(b"a" * 2**20) for _ in range(2**8)]) + packer.flush()
    return FILES["png"][:33] + chunk(b"zTXt", b"a\0\0" + unfolds) + FILES["png"][33:]


# A second's work, some of them: made where they are looked at.
BOMBS: dict[str, Callable[[], bytes]] = {
    "of 10^12 pixels": lambda: png(10**6, 10**6),
    "of the largest sides": lambda: png(2**31 - 1, 2**31 - 1),
    "long": lambda: png(10**6, 1),
    "of no width": lambda: png(0, 10),
    "gif": lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + FILES["gif animated"][10:],
    "bmp": lambda: FILES["bmp"][:18] + struct.pack("<ii", 2**30, 2**30) + FILES["bmp"][26:],
    "ppm": lambda: b"P6 99999999999 99999999999 255\n" + b"0" * 99,
    "ppm of words": lambda: b"P3 " + b"9" * 100_000 + b" 1 255\n",
    "text chunk": text,
    # Pillow would hand this to Ghostscript: an image that is a program.
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(ran) (w) file showpage\n",
    "windows metafile": lambda: b"\xd7\xcd\xc6\x9a" + b"\0" * 80,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_unfold(space: Path, name: str) -> None:
    bomb = BOMBS[name]()
    assert isinstance(survives(lambda: load_image(bomb, name="bomb"), space, "bomb"), Refused)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_picture(space: Path) -> None:
    path = space / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(TokbenchError, match="pipe.png"):
        load_image(path)
    path.unlink()
