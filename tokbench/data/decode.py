"""An image file, whatever is odd about it, as an 8-bit RGB image or as one exception that says why not."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tokbench.data.formats import readable_formats
from tokbench.errors import TokbenchError, printable

# An image half-way to the bomb limit, damaged EXIF: not worth reporting. Once for the process, not around each image:
# threads decode side by side, and of two that set filters aside for a while one puts back what the other had set.
warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")

MAX_ASPECT = 32
"""An image longer than this many times its width would need gigabytes once its short side is resized: refused."""


class UnreadableImage(TokbenchError):
    """A file that cannot be had as an RGB image. ``path`` is the file, ``reason`` a few words."""

    what = "an image"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: cannot be read as {self.what}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.path, self.reason)


def load_image(
    source: str | os.PathLike[str] | bytes, *, name: str | None = None, any_shape: bool = False
) -> Image.Image:
    """A path, or a file's bytes, -> PIL image in mode RGB, upright.

    EXIF orientation is applied; of an animation the first frame is taken; transparency is composited on white;
    12- and 16-bit greys are scaled (not clipped) to 8 bits; colours are converted without their profiles. HEIC is read
    where pillow-heif is installed.

    Raises:
        UnreadableImage: missing, empty, truncated, damaged, no image at all, an image of floats or of 32-bit or
            signed integers, whose range nobody can know, larger than Pillow's decompression-bomb limit, or longer than
            32 times its width where not ``any_shape``, for whoever resizes nothing. ``name`` stands in the message for
            images given as bytes.
    """
    label = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise UnreadableImage(label, "not a file")  # a pipe would be waited for
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise UnreadableImage(label, error.strerror or "cannot be opened") from error
    if not data:
        raise UnreadableImage(label, "the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
            if not any_shape:
                _check_shape(image, label)
            plain = _plain_ycbcr(image, data)
            if plain is not None:
                return plain.convert("RGB")
            image.load()
            _turn_upright(image)
            return _to_rgb(image, label)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plug-ins raise OSError, SyntaxError, struct.error, zlib.error, IndexError...
        reason = "not an image in a known format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise UnreadableImage(label, printable(" ".join(reason.split()), 200) or type(error).__name__) from None


def _check_shape(image: Image.Image, label: str) -> None:
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImage(label, f"{width}x{height} is more than {MAX_ASPECT} times longer than wide")


def _plain_ycbcr(image: Image.Image, data: bytes) -> Image.Image | None:
    """A TIFF of uncompressed YCbCr, upright and not subsampled, from its strips: Pillow before 13 takes a pixel of them
    for four bytes, and a whole file for one that is truncated. None for everything else."""
    tags = getattr(image, "tag_v2", {})
    wanted = {259: 1, 262: 6, 274: 1, 284: 1}  # compression, photometric, orientation, planes
    if any(tags.get(tag, 1) != value for tag, value in wanted.items()) or tags.get(530) != (1, 1):
        return None
    starts, sizes = tags.get(273, ()), tags.get(279, ())
    if len(starts) != len(sizes) or sum(sizes) != 3 * image.width * image.height:
        return None
    strips = (data[start : start + size] for start, size in zip(starts, sizes, strict=True))
    return Image.frombytes("YCbCr", image.size, b"".join(strips))


def _turn_upright(image: Image.Image) -> None:
    # Metadata that cannot be parsed tells no orientation; the pixels were decoded all the same.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image, label: str) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage(label, "floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):
        return _from_deep_grey(image, label)
    if image.mode == "La":
        image = image.convert("LA")  # Pillow converts premultiplied grey to nothing else
    palette_alpha = image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA"
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or palette_alpha or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _from_deep_grey(image: Image.Image, label: str) -> Image.Image:
    """Greys of more than 8 bits, scaled: Pillow's own conversion clips at 255, which turns a 16-bit image white."""
    values = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})  # of a TIFF: 258 bits per sample, 339 their kind (2: signed), 262 white is 0
    bits = int(tags.get(258, (16,))[0])
    if bits > 16 or tags.get(339, (1,))[0] == 2 or values.min() < 0 or values.max() >= 1 << bits:
        kind = f"{bits if bits > 16 else 'signed 16'}-bit integer pixels" if tags else "integer pixels beyond 16 bits"
        raise UnreadableImage(label, f"{kind}, whose range is not known: save them with 8 or 16 bits")
    top = (1 << bits) - 1
    if tags.get(262) == 0:
        values = top - values
    grey = (values * 510 + top) // (2 * top)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
