"""Rows of a table with an image column, once loaded: ``parquet:FILES``, ``hub:NAME``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tokbench.config.condition import Partner, partner_of
from tokbench.data.base import Split, digest, evenly
from tokbench.data.captions import caption_column, caption_in
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.encoded import bytes_of, is_address
from tokbench.data.labels import Numbering, numbering
from tokbench.data.media import IMAGES, VIDEOS, Media
from tokbench.data.whole import WholePictures, hash_split, stamped
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.reading import beneath

LABEL_COLUMNS = ("label", "labels", "cls", "class", "fine_label", "class_name", "category")

_BYTES, _TEXT = ("binary", "large_binary"), ("string", "large_string")
_LABELS = ("int", "uint", "bool", "float", "string", "large_string", "binary")


class Beside(NamedTuple):
    """What goes with each image, and the column that it is in."""

    kind: Partner
    column: str


def split_beside(rest: str) -> tuple[str, Beside | None]:
    """``NAME,masks=COLUMN`` -> (``NAME``, that); where nothing is said of a column, None."""
    rest, kind, column = partner_of(rest)
    return rest, None if kind is None else Beside(kind, column)


class TableImages(WholePictures):
    """Rows of a ``datasets.Dataset`` whose images are left encoded. The id is the row's index.

    ``folders``: where files that rows name in place of bytes may lie.
    """

    def __init__(
        self,
        source: str,
        split: Split,
        view: View,
        rows: Any,
        image: str,
        label: str | None,
        numbered: Numbering,
        files: Sequence[Path] = (),
        folders: Sequence[Path] = (),
    ) -> None:
        super().__init__(source, split, view)
        self.rows, self.image_column, self.label_column, self.numbered = rows, image, label, numbered
        self.files, self.folders = files, folders
        self.classes = numbered.classes
        self.notes = [numbered.note] if numbered.note else []
        columns = [image] if label is None else [image, label]
        self._table = rows.select_columns(columns).with_format("arrow")
        texts = caption_column(rows.features)
        self._captions = rows.select_columns([texts]).with_format(None) if texts else None

    def name(self, position: int) -> str:
        return str(position)

    def label(self, position: int) -> int:
        return self._label(self._table[position])

    def encoded(self, position: int) -> bytes | Path:
        return encoded_of(self._table[position][self.image_column][0].as_py(), self.folders)

    def raw_sample(self, index: int) -> tuple[Any, int, str]:
        """(what the view loads, label, id), the row looked up once. Raises UnreadableImage."""
        position = int(self.kept[index])
        row = self._table[position]
        cell = row[self.image_column][0].as_py()
        loaded = self.view.load(encoded_of(cell, self.folders), str(position), self.start(index))
        return loaded, self._label(row), str(position)

    def caption(self, position: int) -> str:
        (cell,) = (None,) if self._captions is None else self._captions[position].values()
        return caption_in(cell)

    def _label(self, row: Any) -> int:
        return self.numbered(row[self.label_column][0].as_py()) if self.label_column else -1

    @property
    def content(self) -> str:
        """All labels, the files' sizes and times, and the bytes of 64 images, spread evenly."""
        parts = [f"{file.name} {(status := file.stat()).st_size} {status.st_mtime_ns}" for file in self.files]
        if self.label_column is not None:
            for chunk in self._table.data.column(self.label_column).chunks:
                parts.append(hashlib.sha256(repr(chunk.to_pylist()).encode()).hexdigest())
        return digest(str(len(self.rows)), *parts, *sampled(self.encoded, len(self.rows)))

    @property
    def store(self) -> str:
        """The files' own, and ``datasets``' mark of what it loaded: the hub's revision, or rows in memory."""
        return digest(str(self.rows._fingerprint), *(stamped(file) for file in self.files))


def sampled(read: Callable[[int], bytes | Path], count: int) -> list[str]:
    """A hash each of 64 of so many files, spread evenly; of one that cannot be read, of the reason."""
    parts = []
    for position in evenly(count, 64):
        try:
            data = read(position)
        except UnreadableImage as error:
            data = error.reason.encode()
        parts.append(hashlib.sha256(data if isinstance(data, bytes) else str(data).encode()).hexdigest())
    return parts


def encoded_of(cell: Any, folders: Sequence[Path]) -> bytes | Path:
    """What an image column holds of one image -> its bytes or its file. An empty cell is an empty file.

    Raises:
        UnreadableImage: the cell names a file that is in none of ``folders``: a table may name any file of the machine.
    """
    if isinstance(cell, (bytes, str)):
        return bytes_of(cell)
    if isinstance(cell, dict):
        if cell.get("bytes"):
            return bytes_of(cell["bytes"])
        if cell.get("path"):
            return _named(str(cell["path"]), folders)
    return b""


def _named(name: str, folders: Sequence[Path]) -> Path:
    try:
        inside = [folder / name for folder in folders if beneath(folder, name) is not None]
    except (OSError, ValueError) as error:
        raise UnreadableImage(name, str(error)) from None
    if not inside:
        raise UnreadableImage(name, "the row names a file outside of the table's folder, which is not read")
    return next((path for path in inside if path.exists()), inside[0])


def columns_of(
    features: Any, source: str, media: Media = IMAGES, image: str | None = None, label: str | None = None
) -> tuple[str, str | None]:
    """(column of images or videos, label column or None): those wished for, else by type and by their usual names.

    Raises:
        TokbenchError: no column can hold them; lists the columns there are.
    """
    mine, theirs = _feature(media), _feature(media.other)

    def holds_files(name: str) -> bool:
        feature = features[name]
        if isinstance(feature, mine):
            return True
        if isinstance(feature, dict):
            return "bytes" in feature and name.lower() not in media.other.columns
        return name.lower() in media.columns and getattr(feature, "dtype", "") in _BYTES

    def holds_text(name: str) -> bool:
        return name.lower() in media.columns and getattr(features[name], "dtype", "") in _TEXT

    names = list(features)
    if image is not None and image not in names:
        raise TokbenchError(f"{source}: there is no column {image!r}{did_you_mean(image, names)}")
    candidates = [image] if image else [name for name in names if holds_files(name)]
    candidates = candidates or [name for name in names if holds_text(name)]
    if not candidates:
        there = next((name for name in names if isinstance(features[name], theirs)), None)
        but = f"; {there!r} holds {media.other.many}: set data.image_size to {media.other.size}" if there else ""
        raise TokbenchError(f"{source}: no column holds {media.many} (columns: {', '.join(names)}){but}")
    first = min(candidates, key=lambda name: [*media.columns, name.lower()].index(name.lower()))
    if label is None or label not in names:
        usual = [n for usual in LABEL_COLUMNS for n in names if n.lower() == usual and n != first]
        label = next((n for n in usual if _is_integer(features[n])), usual[0] if usual else None)
    return first, label


def class_names(features: Any, label: str | None) -> list[str]:
    """Names of the labels where the table carries them."""
    return list(getattr(features[label], "names", None) or []) if label else []


def numbered_labels(rows: Any, label: str | None, others: Callable[[str], Iterable[object]] | None = None) -> Numbering:
    """The classes of a loaded table. ``others``: the labels of its other splits, so that all number them alike."""
    names = class_names(rows.features, label)
    if label is None or names:
        return Numbering(names)
    if str(getattr(rows.features[label], "dtype", "")).startswith(_LABELS):
        return numbering([*rows.unique(label), *(others(label) if others else ())], f"column {label!r}")
    return Numbering(note=f"column {label!r} holds neither numbers nor texts: not taken for classes")


def table_images(
    source: str,
    split: Split,
    view: View,
    rows: Any,
    limit: int | None,
    *,
    divide: bool,
    folders: Sequence[Path],
    image: str | None = None,
    label: str | None = None,
    positions: range | None = None,
    others: Callable[[str], Iterable[object]] | None = None,
    files: Sequence[Path] = (),
    beside: Beside | None = None,
) -> TableImages:
    """A loaded ``datasets.Dataset`` as a set. ``divide`` holds one row in ten out, ``positions`` restricts rows;
    ``others`` gives the labels of the other splits, ``folders`` where the files may lie that rows name. ``beside``:
    the column of what goes with each image."""
    from tokbench.data.table_pairs import TablePairs, check_beside

    if not len(rows):
        raise TokbenchError(f"{source}: no rows, so no {view.media.many}")
    features = rows.features
    if beside is not None:
        check_beside(source, features, beside, view)
        rows = undecoded(rows, beside.column)
        features = {name: features[name] for name in features if name != beside.column}
    image, label = columns_of(features, source, view.media, image, label)
    rows = undecoded(rows, image)
    _refuse_addresses(rows, image, f"{source}: column {image!r}", view.media)
    table = source, split, view, rows, image, label, numbered_labels(rows, label, others), files, folders
    images = TableImages(*table) if beside is None else TablePairs(*table, beside=beside)
    chosen: Sequence[int] = range(len(rows))
    if positions is not None:
        chosen = [k for k in positions if k < len(rows)]
    elif divide:
        chosen = hash_split([str(k) for k in chosen], split, source)
    if isinstance(images, TablePairs):
        chosen = images.paired_of(chosen)
    images.select(chosen, limit, len(rows) if positions is None else None)
    return images


def holds_bytes(feature: Any) -> bool:
    """Whether a column of this type holds files of images, or the paths of some."""
    if isinstance(feature, _feature(IMAGES)) or getattr(feature, "dtype", "") in _BYTES:
        return True
    return isinstance(feature, dict) and "bytes" in feature


def undecoded(rows: Any, image: str) -> Any:
    """The same rows, files left as the bytes they are stored in: tokbench decodes them itself."""
    kind: Any = type(rows.features[image])
    if kind in (_feature(IMAGES), _feature(VIDEOS)):
        return rows.cast_column(image, kind(decode=False))
    return rows


def _feature(media: Media) -> Any:
    """The type of ``datasets`` for it; an older one has none for videos, whose columns are then bytes."""
    import datasets

    return getattr(datasets, "Video", type(None)) if media is VIDEOS else datasets.Image


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of ``datasets`` for what takes a moment."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _refuse_addresses(rows: Any, image: str, where: str, media: Media) -> None:
    if str(getattr(rows.features[image], "dtype", "")) in _TEXT and is_address(cell := rows[0][image]):
        raise TokbenchError(
            f"{where} holds addresses ({cell[:60]}), which are not fetched: download the {media.many} "
            f"first ({media.tool} writes shards for webdataset:FILES)"
        )


def _is_integer(feature: Any) -> bool:
    return hasattr(feature, "names") or str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
