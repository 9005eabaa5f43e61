"""Images read from front to back: ``hub:NAME:streaming`` and ``webdataset:FILES:streaming``.

``datasets`` divides the shards over processes and workers; nothing is lost or doubled, whatever divides or does not.
The order depends on (seed, epoch, processes, workers), so resume with the same numbers of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.data.base import Batch, Split, digest
from tokbench.data.captions import NAMES, caption_column, caption_in
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.pixels import stacked
from tokbench.data.table import TableImages, class_names, encoded_of, table_images
from tokbench.data.whole import share_of
from tokbench.errors import TokbenchError


class UnknownLength(TokbenchError, TypeError):
    """``len`` of a stream. A TypeError too, which is what Python expects of something without a length."""


class StreamedImages:
    """Training images without an index. What :class:`~tokbench.data.base.ImageDataset` has, less ``[i]``."""

    def __init__(
        self,
        source: str,
        view: View,
        rows: Any,
        image: str,
        label: str | None,
        limit: int | None,
        length: int | None,
        classes: list[str] | None = None,
        content: str = "",
        folders: Sequence[Path] = (),
    ) -> None:
        if limit is not None:
            raise TokbenchError(f"{source}: a stream cannot be cut short evenly; leave data.limit out")
        self.source, self.view, self.rows, self.length, self.content = source, view, rows, length, content
        self.folders = folders  # where files may lie that rows name in place of bytes
        self.split: Split = "train"
        self.image_size = view.size
        self.image_column = image
        self.label_column, self.classes, self.notes = streamed_labels(rows.features, label, classes)
        self.skipped: list[tuple[str, str]] = []
        self.of, self.share = None, ""  # of a stream all images are taken
        self.caption_column: str | None = None  # set by ``read_captions``
        self.captions = None  # they come with the samples
        self.frame_rate = view.frame_rate

    def __len__(self) -> int:
        if self.length is None:
            raise UnknownLength(f"{self.source}: the number of images in a stream is not known before its end")
        return self.length

    def read_captions(self) -> None:
        """Have every sample come with its ``text``; a row without one counts as unreadable.

        Raises:
            TokbenchError: no column of the stream holds captions.
        """
        self.caption_column = caption_column(self.rows.features)
        if self.caption_column is None:
            there = ", ".join(self.rows.features)
            raise TokbenchError(f"{self.source}: no column called {', '.join(NAMES)} has captions (there are: {there})")

    @property
    def protocol(self) -> str:
        return self.view.protocol

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the source's name, what is known of its files without reading them, and preprocessing.

        Of shards at hand those are times, keys, sizes and labels; of the hub the declared splits; of addresses nothing.
        """
        texts = [self.caption_column] if self.caption_column else []
        return digest("stream 2", self.source, self.content, str(self.length), self.view.describe(), *texts)

    def describe(self) -> str:
        """One line for people."""
        many = self.view.media.many
        count = f"{self.length} {many}" if self.length is not None else many
        text = f"{self.source} ({self.split}): {count}, streamed, {self.view.describe()}"
        text += f"; {len(self.skipped)} skipped" if self.skipped else ""
        return "; ".join([text, *self.notes])

    def samples(self, rows: list[dict[str, Any]], epoch: int) -> tuple[Batch, list[tuple[str, str]]]:
        """A batch of as many samples as rows. For an unreadable image the next readable one of the batch stands in.

        Raises:
            TokbenchError: none of the rows can be read.
        """
        loaded: list[tuple[Any, int, str]] = []
        captions: list[str] = []
        taken: list[tuple[Tensor, str] | None] = []
        bad: list[tuple[str, str]] = []
        for row in rows:
            name = "a row"
            captions.append(caption_in(row[self.caption_column]) if self.caption_column else "")
            try:
                data = encoded_of(row[self.image_column], self.folders)
                name = _identity(row, data)
                if self.caption_column and not captions[-1]:
                    raise UnreadableImage(name, "no caption")
                label = row[self.label_column] if self.label_column else None
                found = self.view.load(data, name), -1 if label is None else max(int(label), -1), name
                taken.append(self.view.take(found[0], epoch, _draw(name)))
                loaded.append(found)
            except (UnreadableImage, ValueError) as error:
                bad.append((error.path, error.reason) if isinstance(error, UnreadableImage) else (name, str(error)))
                loaded.append((None, -1, name))
                taken.append(None)
        readable = [k for k, sample in enumerate(taken) if sample is not None]
        if not readable:
            many = self.view.media.many
            raise TokbenchError(f"{self.source}: {len(rows)} {many} in a row cannot be read, first {bad[0][0]}")
        images, labels, names, texts = [], [], [], []
        for k, sample in enumerate(taken):
            beside = next((j for j in readable if j >= k), readable[0])
            file, label, name = loaded[beside]
            if sample is None:
                # k keeps a stand-in from being the same crop twice; of a video another clip may be damaged.
                with suppress(UnreadableImage):
                    sample = self.view.take(file, epoch, _draw(f"{name} {k}"))
            image, place = sample or taken[beside]  # type: ignore[misc]
            images.append(image)
            labels.append(label)
            names.append(name + place)
            texts.append(captions[beside])
        batch: Batch = {"image": stacked(images), "label": torch.tensor(labels, dtype=torch.int64), "id": names}
        if self.caption_column:
            batch["text"] = texts
        return batch, bad


def streamed_labels(
    features: Any, label: str | None, classes: list[str] | None
) -> tuple[str | None, list[str], list[str]]:
    """(label column of a stream, classes, notes). ``classes``: their names where they are known from elsewhere.

    Numbers stand for themselves, but names could only be numbered at the end.
    """
    names = class_names(features, label)
    note = ""
    if label is not None and not names:
        if str(getattr(features[label], "dtype", "")).startswith(("int", "uint")):
            note = f"the numbers in column {label!r} have no names and a stream is not read for them: no classes"
        else:
            note = f"column {label!r} holds no class numbers, which a stream needs: no classes (leave :streaming out)"
            label = None
    return (label, names, [note] if note else []) if classes is None else (label, classes, [])


def streamed_evaluation(
    source: str,
    view: View,
    rows: Any,
    image: str,
    label: str | None,
    limit: int | None,
    length: int | None,
    classes: list[str] | None = None,
    folders: Sequence[Path] = (),
) -> TableImages:
    """The first ``limit`` images of a streamed evaluation split, held encoded in memory so that they have indices."""
    import datasets

    if limit is None:
        of = f" of its {length}" if length is not None else ""
        raise TokbenchError(
            f"{source}: say how many{of} evaluation {view.media.many} to hold in memory (data.eval_limit)"
        )
    label, named, notes = streamed_labels(rows.features, label, classes)
    texts = caption_column(rows.features)
    columns = [name for name in (image, label, texts) if name is not None]
    first = list(rows.select_columns(columns).take(limit))
    if not first:
        raise TokbenchError(f"{source}: no {view.media.many} in its eval split")
    features = datasets.Features({name: rows.features[name] for name in columns})
    table = datasets.Dataset.from_list(first, features=features)
    held = table_images(source, "eval", view, table, limit, divide=False, folders=folders, image=image, label=label)
    held.classes, held.notes = named, notes
    held.of, held.share = share_of(source, "eval", len(first), length or len(first), None, view.media.many)
    return held


def _identity(row: dict[str, Any], data: bytes | Path) -> str:
    """A stable name for a row without an index: its key where it has one, else a hash of its bytes."""
    if "__key__" in row:
        return f"{str(row.get('__url__', '')).rpartition('/')[2]}/{row['__key__']}"
    return hashlib.sha256(data).hexdigest()[:16] if isinstance(data, bytes) else data.name


def _draw(name: str) -> int:
    """What stands for the index that a row of a stream has not."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8], "big")
