"""Odd image files: converted rightly, or refused with a reason."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from data_pictures import encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tokbench.data import UnreadableImage, load_image


def center(data: bytes) -> tuple[int, ...]:
    image = load_image(data)
    assert image.mode == "RGB"
    return image.getpixel((image.width // 2, image.height // 2))


def test_cmyk() -> None:
    red, green, blue = center(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert red > 245 and green < 10 and blue < 10


@pytest.mark.parametrize("value, expected", [(0, 0), (65535, 255), (257 * 100, 100), (32768, 128), (128, 0), (129, 1)])
def test_sixteen_bits_are_scaled_not_clipped(value: int, expected: int) -> None:
    grey = Image.fromarray(np.full((8, 8), value, np.uint16))
    assert center(encoded(grey, "PNG")) == (expected,) * 3
    assert center(encoded(grey, "TIFF")) == (expected,) * 3


def test_transparency_lies_on_white() -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert center(encoded(half)) == (127, 127, 127)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    assert center(encoded(palette)) == (200, 0, 0)
    assert center(encoded(palette, transparency=1)) == (255, 255, 255)
    grey = Image.merge("LA", (Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 0)))
    assert center(encoded(grey)) == (255, 255, 255)


def tiff(
    pixels: np.ndarray, *, width: int = 8, bits: int = 8, white: int = 1, alpha: bool = False, signed: bool = False
) -> bytes:
    """A grey TIFF of height 8 that Pillow does not write; ``alpha`` is premultiplied, ``white`` 0 inverts."""
    samples = 2 if alpha else 1
    kind = 2 if signed else 1
    fields = [(256, width), (257, 8), (258, bits), (259, 1), (262, white), (273, 8), (277, samples), (278, 8)]
    fields += [(279, pixels.nbytes), *([(338, 1)] if alpha else []), (339, kind)]
    entries = b""
    for tag, value in fields:
        twice = alpha and tag in (258, 339)
        entries += struct.pack("<HHII", tag, 3, samples if twice else 1, value | value << 16 if twice else value)
    directory = struct.pack("<H", len(fields)) + entries + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes() + directory


def test_premultiplied_grey_lies_on_white() -> None:
    assert center(tiff(np.tile(np.uint8([64, 128]), 64), alpha=True)) == (191,) * 3  # 64 + (255 - 128)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("top", [255, 65535, 1 << 20])
def test_32_bit_integers_are_refused_whatever_they_hold(signed: bool, top: int) -> None:
    with pytest.raises(UnreadableImage, match=r"32-bit integer pixels.*8 or 16 bits"):
        load_image(tiff(np.linspace(0, top, 64).astype("<u4"), bits=32, signed=signed))


def test_signed_16_bits_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="signed 16-bit"):
        load_image(tiff(np.full(64, 99, "<i2"), bits=16, signed=True))


def test_twelve_bits_and_white_as_zero() -> None:
    assert center(tiff(np.full(8 * 12, 0xFF, np.uint8), bits=12)) == (255,) * 3
    assert center(tiff(np.full(64, 65535, "<u2"), bits=16, white=0)) == (0, 0, 0)


def test_16_bit_files_of_every_kind_are_scaled() -> None:
    grey = np.full((8, 8), 257 * 100, np.uint16)
    assert center(b"P5 8 8 65535\n" + grey.byteswap().tobytes()) == (100,) * 3
    assert center(b"P5 8 8 1023\n" + np.full((8, 8), 1023, ">u2").tobytes()) == (255,) * 3
    assert center(encoded(Image.fromarray(grey), "JPEG2000")) == (100,) * 3
    clear = encoded(Image.fromarray(grey), "PNG", transparency=257 * 100)
    assert Image.open(io.BytesIO(clear)).info["transparency"] == 257 * 100 and center(clear) == (255,) * 3


@pytest.mark.parametrize(
    "mode, color, kind, expected",
    [
        ("LAB", (255, 128, 128), "TIFF", (255, 255, 255)),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
        ("CMYK", (0, 0, 0, 255), "TIFF", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "JPEG", (255, 255, 255)),
        ("RGBA", (9, 9, 9, 0), "WEBP", (255, 255, 255)),
        ("PA", None, "TIFF", (255, 255, 255)),
    ],
)
def test_modes(mode: str, color: tuple[int, ...] | None, kind: str, expected: tuple[int, ...]) -> None:
    image = Image.new("RGBA", (16, 16)).convert("PA") if color is None else Image.new(mode, (16, 16), color)
    assert all(abs(a - b) <= 2 for a, b in zip(center(encoded(image, kind)), expected, strict=True))


def test_a_name_that_ends_wrongly_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(encoded(Image.new("RGB", (8, 8), (1, 2, 3))))
    assert load_image(tmp_path / "x.jpg").getpixel((4, 4)) == (1, 2, 3)


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 30))).save(out)
    image = load_image(out.getvalue())
    assert image.size == (64, 48) and abs(image.getpixel((30, 20))[0] - 200) < 8
    with pytest.raises(UnreadableImage, match="x.heic"):
        load_image(out.getvalue()[:200], name="x.heic")


def test_grey_and_bilevel() -> None:
    assert center(encoded(Image.new("L", (8, 8), 77))) == (77, 77, 77)
    assert center(encoded(Image.new("1", (8, 8), 1))) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((250, 0, 0), (0, 250, 0))]
    settings = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert center(data)[0] > 200 and center(data)[1] < 50


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))  # the left half; upright it is the upper one
    upright = load_image(encoded(image, "PNG", exif=exif))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 255, 255) and upright.getpixel((5, 18)) == (0, 0, 0)


def test_one_pixel_is_a_picture() -> None:
    assert load_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).getpixel((0, 0)) == (1, 2, 3)


def unreadable() -> dict[str, tuple[bytes, str]]:
    jpeg, png = encoded(picture(0, 64, 64), "JPEG"), encoded(picture(0, 64, 64))
    return {
        "empty": (b"", "empty"),
        "text": (b"<html>404</html>", "not an image"),
        "truncated jpeg": (jpeg[:-20], "(?i)truncated"),
        "truncated png": (png[: len(png) // 2], "(?i)truncated"),
        "float tiff": (encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), "floating"),
        "32-bit tiff": (encoded(Image.fromarray(np.full((4, 4), 200, np.int32)), "TIFF"), "32-bit"),
        "ribbon": (encoded(Image.new("RGB", (2, 200))), "times longer"),
    }


@pytest.mark.parametrize("name", unreadable())
def test_what_cannot_be_read_says_why(name: str) -> None:
    data, reason = unreadable()[name]
    with pytest.raises(UnreadableImage, match=reason) as caught:
        load_image(data, name="a/b.jpg")
    assert caught.value.path == "a/b.jpg" and "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImage, match=path.name):
            load_image(path)


def test_the_error_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("p", "r")))
    assert (error.path, error.reason, str(error)) == ("p", "r", str(UnreadableImage("p", "r")))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]))
def test_damaged_bytes_decode_or_are_refused(data: st.DataObject, kind: str) -> None:
    """Nothing but UnreadableImage ever comes out of a damaged file."""
    content = bytearray(encoded(picture(1), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert load_image(bytes(content[: data.draw(st.integers(1, len(content)))])).mode == "RGB"
    except UnreadableImage:
        pass
