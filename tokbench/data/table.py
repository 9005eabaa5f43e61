"""Rows of a table with a picture column: ``parquet:FILES`` and, once loaded, ``hub:NAME``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tokbench.data.base import Split, digest, evenly
from tokbench.data.crops import View
from tokbench.data.decode import load_image
from tokbench.data.specs import split_files
from tokbench.data.whole import WholePictures, hash_split
from tokbench.errors import TokbenchError, did_you_mean

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "picture")
LABEL_COLUMNS = ("label", "labels", "cls", "class", "fine_label")


class TableImages(WholePictures):
    """Rows of a ``datasets.Dataset`` whose pictures are left encoded. The id is the row's index."""

    def __init__(self, source: str, split: Split, view: View, rows: Any, image: str, label: str | None) -> None:
        super().__init__(source, split, view)
        self.rows, self.image_column, self.label_column = rows, image, label
        self.classes = class_names(rows.features, label)
        columns = [image] if label is None else [image, label]
        self._table = rows.select_columns(columns).with_format("arrow")
        self._sampled = ""

    def name(self, position: int) -> str:
        return str(position)

    def label(self, position: int) -> int:
        return self._label(self._table[position])

    def encoded(self, position: int) -> bytes | Path:
        return encoded_of(self._table[position][self.image_column][0].as_py())

    def picture(self, index: int) -> tuple[Image.Image, int, str]:
        """(decoded RGB picture, label, id), the row looked up once. Raises UnreadableImage."""
        position = int(self.kept[index])
        row = self._table[position]
        image = load_image(encoded_of(row[self.image_column][0].as_py()), name=str(position))
        return image, self._label(row), str(position)

    def _label(self, row: Any) -> int:
        value = row[self.label_column][0].as_py() if self.label_column else None
        return -1 if value is None else int(value)

    @property
    def content(self) -> str:
        """The number of rows and the bytes of 64 of them, spread evenly."""
        if not self._sampled:
            parts = []
            for position in evenly(len(self.rows), 64):
                data = self.encoded(position)
                parts.append(hashlib.sha256(data if isinstance(data, bytes) else str(data).encode()).hexdigest())
            self._sampled = digest(str(len(self.rows)), *parts)
        return self._sampled

    @property
    def store(self) -> str:
        return self.content


def encoded_of(cell: Any) -> bytes | Path:
    """What an image column holds of one picture -> its bytes or its file. An empty cell is an empty file."""
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, dict):
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        if cell.get("path"):
            return Path(cell["path"])
    return b""


def columns_of(
    features: Any, source: str, image: str | None = None, label: str | None = None
) -> tuple[str, str | None]:
    """(picture column, label column or None): those wished for, else by type and by their usual names.

    Raises:
        TokbenchError: no column can hold pictures; lists the columns there are.
    """
    import datasets

    def holds_pictures(name: str) -> bool:
        feature = features[name]
        if isinstance(feature, datasets.Image):
            return True
        if isinstance(feature, dict):
            return "bytes" in feature
        return name in IMAGE_COLUMNS and getattr(feature, "dtype", "") in ("binary", "large_binary")

    names = list(features)
    if image is not None and image not in names:
        raise TokbenchError(f"{source}: there is no column {image!r}{did_you_mean(image, names)}")
    candidates = [image] if image else [name for name in names if holds_pictures(name)]
    if not candidates:
        raise TokbenchError(f"{source}: no column holds pictures (columns: {', '.join(names)})")
    first = next((name for name in IMAGE_COLUMNS if name in candidates), candidates[0])
    if label is None or label not in names:
        label = next((n for n in LABEL_COLUMNS if n in names and _is_integer(features[n])), None)
    return first, label


def class_names(features: Any, label: str | None) -> list[str]:
    """Names of the labels where the table carries them."""
    return list(getattr(features[label], "names", None) or []) if label else []


def open_parquet(source: str, rest: str, split: Split, view: View, limit: int | None) -> TableImages:
    """``FILES`` (paths or globs, comma-separated), or ``train=FILES,eval=FILES``.

    Without names, files called after their split (train-000.parquet, val-000.parquet) belong to it; otherwise one row
    in ten is held out.

    Raises:
        TokbenchError: no such file, a file that is no Parquet, no picture column, no rows.
    """
    import datasets
    import pyarrow
    import pyarrow.parquet

    files, divide = split_files(rest, split, source)
    count = 0
    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as table:
                count += table.metadata.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise TokbenchError(f"{source}: {file} is not a readable Parquet file: {_one_line(error)}") from None
    if not count:
        raise TokbenchError(f"{source}: no rows, so no pictures")
    try:
        with quiet():
            rows = datasets.load_dataset("parquet", data_files=[str(file) for file in files], split="train")
    except Exception as error:
        raise TokbenchError(f"{source}: cannot be read: {_one_line(error.__cause__ or error)}") from None
    return table_images(source, split, view, rows, limit, divide=divide)


def table_images(
    source: str,
    split: Split,
    view: View,
    rows: Any,
    limit: int | None,
    *,
    divide: bool,
    image: str | None = None,
    label: str | None = None,
    positions: range | None = None,
) -> TableImages:
    """A loaded ``datasets.Dataset`` as pictures; ``divide`` holds one row in ten out, ``positions`` restricts rows."""
    if not len(rows):
        raise TokbenchError(f"{source}: no rows, so no pictures")
    image, label = columns_of(rows.features, source, image, label)
    images = TableImages(source, split, view, undecoded(rows, image), image, label)
    if positions is None:
        everything = range(len(rows))
        images.select(hash_split([str(k) for k in everything], split, source) if divide else everything, limit)
    else:
        images.select((k for k in positions if k < len(rows)), limit)
    return images


def undecoded(rows: Any, image: str) -> Any:
    """The same rows, pictures left as the bytes they are stored in: tokbench decodes them itself."""
    import datasets

    if isinstance(rows.features[image], datasets.Image):
        return rows.cast_column(image, datasets.Image(decode=False))
    return rows


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


def _is_integer(feature: Any) -> bool:
    return hasattr(feature, "names") or str(getattr(feature, "dtype", "")).startswith(("int", "uint"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
