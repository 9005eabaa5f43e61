"""``zip:FILE``: a folder of images in a zip archive, read at any place and never unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from tokbench.data.arranged import arranged
from tokbench.data.base import Split, digest
from tokbench.data.captions import LARGEST, SUFFIXES, caption_file
from tokbench.data.crops import View
from tokbench.data.listing import Listing, ignored
from tokbench.data.registry import register
from tokbench.data.specs import named_parts, part_of
from tokbench.data.whole import WholePictures, stamped
from tokbench.errors import TokbenchError, printable

_HEAD = struct.Struct("<4s22xHH")  # of a file in the archive: its mark, the lengths of its name and of what follows it
_LARGEST_TEXT = 2**30  # bytes of a file of labels


class ZipImages(WholePictures):
    """Images in the order of their paths in the archive."""

    def __init__(self, source: str, split: Split, view: View, archive: Path, entries: list[zipfile.ZipInfo]) -> None:
        super().__init__(source, split, view)
        self.archive, self.entries = archive, entries
        self.labels: list[int] = []
        self.beside: dict[str, zipfile.ZipInfo] = {}  # files that may be captions, by their paths

    def name(self, position: int) -> str:
        return printable(self.entries[position].filename)

    def label(self, position: int) -> int:
        return self.labels[position]

    def encoded(self, position: int) -> bytes:
        return _content(self.archive, self.entries[position])

    def caption(self, position: int) -> str:
        stem = self.entries[position].filename.rpartition(".")[0]
        for entry in (self.beside[stem + suffix] for suffix in SUFFIXES if stem + suffix in self.beside):
            content = _content(self.archive, entry) if entry.file_size <= LARGEST else bytes(LARGEST + 1)
            return caption_file(content, printable(entry.filename), self.name(position))
        return ""

    @property
    def content(self) -> str:
        """Names, sizes, checksums and labels: the archive's directory has all images' CRC-32."""
        rows = zip(self.entries, self.labels, strict=True)
        return digest(*(f"{printable(e.filename)} {e.file_size} {e.CRC} {label}" for e, label in rows))

    @property
    def store(self) -> str:
        return digest(stamped(self.archive), self.content)


@register({"zip:FILE": "the same as a folder in a zip archive; a dataset.json in it (StyleGAN) has the classes"})
def open_zip(source: str, rest: str, split: Split, view: View, limit: int | None) -> ZipImages:
    """``FILE``, or ``train=FILE,eval=FILE``.

    Sub-folders are splits and classes as in a folder; ``dataset.json`` (StyleGAN) has the class numbers where it is.

    Raises:
        TokbenchError: no such file, no zip archive, encrypted, no images in it.
    """
    parts = named_parts(rest, source)
    if "" not in parts:
        part_of(parts, split, source)
    archives = {name: Path(path).expanduser() for name, path in parts.items()}
    entries = {name: _directory(path, source) for name, path in archives.items()}
    listings = {}
    for name, found in entries.items():
        listings[name] = Listing(view.media)
        for path, entry in found.items():
            listings[name].sort_out(path, entry.file_size, 0, (0, 0))
        listings[name].files.sort(key=lambda file: file.path)

    def read(name: str, path: str) -> str:
        if entries[name][path].file_size > _LARGEST_TEXT:
            raise TokbenchError(f"{source}: {path} is too large for a file of labels")
        return _content(archives[name], entries[name][path]).decode("utf-8", "replace")

    of = arranged(listings, split, source, read)
    key = split if split in archives else ""
    images = ZipImages(source, split, view, archives[key], [entries[key][of.base + file.path] for file in of.files])
    images.beside = {path: entry for path, entry in entries[key].items() if path.endswith(SUFFIXES)}
    images.classes, images.labels, images.notes = [printable(name) for name in of.classes], of.labels, of.notes
    images.skipped = [(printable(path), reason) for path, reason in of.problems]
    images.select(of.positions, limit, len(of.files))
    return images


def _directory(path: Path, source: str) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by their paths."""
    if not path.is_file():
        raise TokbenchError(f"{source}: there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            found = {e.filename: e for e in archive.infolist() if not e.is_dir()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise TokbenchError(f"{source}: {path} is not a readable zip archive: {printable(str(error), 120)}") from None
    found = {name: e for name, e in found.items() if not any(map(ignored, set(name.split("/")) - {".", ".."}))}
    if any(e.flag_bits & 1 for e in found.values()):
        raise TokbenchError(f"{source}: {path} is encrypted: unpack it and write folder:PATH")
    return found


def _content(archive: Path, entry: zipfile.ZipInfo) -> bytes:
    """A file's bytes, by its place: worker processes share no handle. Empty where the archive is damaged there."""
    with open(archive, "rb") as file:
        file.seek(entry.header_offset)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(b"PK\x03\x04"):
            return b""
        _, name, extra = _HEAD.unpack(head)
        file.seek(name + extra, 1)
        packed = file.read(entry.compress_size)
    if entry.compress_type == zipfile.ZIP_STORED:
        content = packed
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(packed, max(entry.file_size, 1))
        except zlib.error:
            return b""
    else:
        with zipfile.ZipFile(archive) as whole:
            content = whole.read(entry)
    return content if zlib.crc32(content) == entry.CRC else b""
