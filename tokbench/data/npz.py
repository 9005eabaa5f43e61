"""``npz:FILE``: a batch of images as guided-diffusion writes samples and references: ``arr_0``, classes ``arr_1``."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tokbench.data.base import Split, digest
from tokbench.data.crops import View
from tokbench.data.labels import numbering
from tokbench.data.media import IMAGES
from tokbench.data.registry import register
from tokbench.data.specs import named_parts, part_of
from tokbench.data.whole import WholePictures, hash_split, stamped
from tokbench.errors import TokbenchError, printable

ARRAY, LABELS = "arr_0", "arr_1"


class NpzImages(WholePictures):
    """Images of one array, uint8 (N, H, W, 3), mapped into memory where it is not compressed. The id is the index."""

    def __init__(self, source: str, split: Split, view: View, file: Path, pixels: Any, labels: Any, crc: str) -> None:
        super().__init__(source, split, view)
        self.file, self.pixels, self.crc = file, pixels, crc
        found = numbering(() if labels is None else np.unique(labels).tolist(), LABELS)
        none = labels is None or bool(found.note)
        self.labels = np.full(len(pixels), -1) if none else np.maximum(labels.astype(np.int64), -1)
        self.classes, self.notes = found.classes, [found.note] if found.note else []

    def name(self, position: int) -> str:
        return str(position)

    def label(self, position: int) -> int:
        return int(self.labels[position])

    def raw_sample(self, index: int) -> tuple[Image.Image, int, str]:
        """(RGB image, label, id): there is nothing to decode."""
        position = int(self.kept[index])
        return Image.fromarray(np.array(self.pixels[position])), self.label(position), str(position)

    def encoded(self, position: int) -> bytes:
        """The pixels, which are what there is."""
        return bytes(self.pixels[position].tobytes())

    @property
    def content(self) -> str:
        """The checksums that the file keeps of its arrays."""
        return digest(str(self.pixels.shape), self.crc)

    @property
    def store(self) -> str:
        return digest(stamped(self.file), self.content)


@register(
    {"npz:FILE": "an array of images: arr_0, uint8 (N, H, W, 3), and perhaps arr_1, classes (guided-diffusion)"},
    (IMAGES,),
)
def open_npz(source: str, rest: str, split: Split, view: View, limit: int | None) -> NpzImages:
    """``FILE``, or ``train=FILE,eval=FILE``; without names one image in ten is held out.

    Raises:
        TokbenchError: no such file, not an .npz, or arrays of another kind: the line says which it has.
    """
    parts = named_parts(rest, source)
    divide = "" in parts
    file = Path(parts[""] if divide else part_of(parts, split, source)).expanduser()
    if not file.is_file():
        raise TokbenchError(f"{source}: there is no file {file}")
    try:
        pixels, labels, crc = _arrays(file, f"{source}: {file.name}")
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise TokbenchError(f"{source}: {file} is not a readable .npz: {printable(str(error), 120)}") from None
    images = NpzImages(source, split, view, file, pixels, labels, crc)
    everything = range(len(pixels))
    chosen = hash_split([str(k) for k in everything], split, source) if divide else everything
    images.select(chosen, limit, len(pixels))
    return images


def _arrays(file: Path, where: str) -> tuple[Any, Any, str]:
    """(images, labels or None, checksums)."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if ARRAY not in entries:
        has = printable(", ".join(sorted(entries)[:9]))
        raise TokbenchError(f"{where} has no {ARRAY}, which the images have to be called (it has: {has})")
    pixels = _array(file, entries[ARRAY], where)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        shape = f"{pixels.dtype} {tuple(pixels.shape)}"
        raise TokbenchError(f"{where}: {ARRAY} is {shape}, and images are uint8 (N, H, W, 3) in 0..255")
    if LABELS not in entries:
        return pixels, None, str(entries[ARRAY].CRC)
    labels = _array(file, entries[LABELS], where)
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
        shape = f"{labels.dtype} {tuple(labels.shape)}"
        raise TokbenchError(f"{where}: {LABELS} is {shape}, and classes are integers ({len(pixels)},)")
    return pixels, labels, f"{entries[ARRAY].CRC} {entries[LABELS].CRC}"


def _array(file: Path, entry: zipfile.ZipInfo, where: str) -> Any:
    """One array: in place where it is stored as it is, else unpacked into memory."""
    if entry.compress_type != zipfile.ZIP_STORED:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[entry.filename.removesuffix(".npy")]
    with open(file, "rb") as raw:
        raw.seek(entry.header_offset)
        name, extra = struct.unpack("<26xHH", raw.read(30))
        raw.seek(entry.header_offset + 30 + name + extra)
        start = raw.tell()
        version = np.lib.format.read_magic(raw)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(raw)
        if dtype.hasobject or fortran or raw.tell() - start + dtype.itemsize * math.prod(shape) != entry.file_size:
            raise TokbenchError(f"{where}: {entry.filename} is not a plain array of its size: save it again")
        return np.memmap(file, dtype, "r", raw.tell(), shape) if 0 not in shape else np.empty(shape, dtype)
