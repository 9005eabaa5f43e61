"""The labelled images of a probe, in one order for whatever reads them: pixels, or codes that were encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.codes.cache import CodeCache
from tokbench.codes.encoding import already_written, write_codes
from tokbench.config.grid import Size, axes
from tokbench.config.kind import Kind
from tokbench.data import PROTOCOLS, open_images
from tokbench.data.base import ImageDataset
from tokbench.data.loader import Loader
from tokbench.data.maps import to_model
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

PROTOCOL = "tokbench-v1"
Batch = tuple[Tensor, Tensor]
"""Codes or pixels, and int64 labels (B,)."""


@dataclass(frozen=True)
class Labelled:
    """Both splits, cropped as for evaluation and never mirrored, so that one encoding is all that codes need.

    Of videos training takes all windows, and evaluation the first of each: windows of one video are no independent
    samples, and the standard error would be too small.
    """

    train: ImageDataset
    held_out: ImageDataset

    @property
    def classes(self) -> int:
        return len(self.train.classes)


def open_labelled(source: str, size: Size, channels: int, kind: Kind = "image", **limits: Any) -> Labelled:
    """``limits``: ``limit`` and ``eval_limit``, ``stride`` and ``fps``.

    Raises:
        TokbenchError: as ``open_images``; a stream; images without classes, or of one class.
    """
    shape: Any = {"image_size": size, "channels": channels, "kind": kind, "crop": PROTOCOLS.get(PROTOCOL).crop}
    shape |= {key: limits[key] for key in ("stride", "fps")}
    windows = ("all", "first") if len(axes(size)) == 3 else (None, None)
    train = open_images(source, "train", limit=limits["limit"], windows=windows[0], **shape)  # type: ignore[arg-type]
    held_out = open_images(source, "eval", limit=limits["eval_limit"], windows=windows[1], **shape)  # type: ignore[arg-type]
    if not isinstance(train, ImageDataset):
        raise TokbenchError(f"{source}: a probe reads images by number, and a stream has none: leave :streaming out")
    if len(train.classes) < 2:
        raise TokbenchError(
            f"{source}: {'one class' if train.classes else 'no classes'}, and a probe needs two or more: "
            "class folders, or a column of labels"
        )
    if held_out.classes and held_out.classes != train.classes:
        raise TokbenchError(f"{source}: its splits have different classes; give both the same class folders")
    return Labelled(train, held_out)


class Pixels:
    """Batches of pixels in [-1, 1], of label maps one-hot."""

    def __init__(self, data: Labelled, workers: int = 0) -> None:
        self.data, self.workers = data, workers

    def training(self, order: Loader) -> Iterator[Batch]:
        """The rest of the epoch that ``order`` stands in."""
        for batch in order:
            view = self.data.train.view
            yield to_model(batch["image"], view.kind, view.channels), batch["label"]

    def held_out(self, batch_size: int) -> Iterator[Batch]:
        """Every held-out image once."""
        yield from self.training(
            Loader(self.data.held_out, batch_size=batch_size, shuffle=False, seed=0, workers=self.workers)
        )


class Codes:
    """Batches of codes (B, \\*grid, D) from a cache in ``folder``, which is written where it is not there yet."""

    def __init__(
        self,
        data: Labelled,
        tokenizer: Tokenizer,
        folder: Path,
        *,
        batch_size: int,
        workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.data = data
        source = tokenizer.sha256()[:12]
        for images in (data.train, data.held_out):
            if not already_written(tokenizer, images, folder, source=source):
                write_codes(
                    tokenizer, images, folder / images.split, source=source,
                    batch_size=batch_size, workers=workers, progress=progress,
                )  # fmt: skip
        self._caches = {split: CodeCache(folder, split) for split in ("train", "eval")}

    def training(self, order: Loader) -> Iterator[Batch]:
        """The codes of the very images that ``Pixels`` would give."""
        start, order.start_batch = order.start_batch, 0
        for indices in order.batches()[start:]:
            yield self._read("train", indices)

    def held_out(self, batch_size: int) -> Iterator[Batch]:
        """Every held-out image once."""
        count = len(self._caches["eval"])
        for first in range(0, count, batch_size):
            yield self._read("eval", list(range(first, min(first + batch_size, count))))

    def _read(self, split: str, indices: list[int]) -> Batch:
        batch = self._caches[split].read(indices)
        return batch["codes"], batch["label"]


def checked(labels: Tensor, images: ImageDataset) -> Tensor:
    """``labels``; TokbenchError where an image has no class."""
    if bool((labels < 0).any()):
        raise TokbenchError(f"{images.source} ({images.split}): an image has no class; a probe needs one of each image")
    return labels
