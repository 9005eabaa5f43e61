"""Sets of whole pictures (folder, table, shards): which of them are in a split, and which cannot be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image
from rich.progress import TaskID

from tokbench.cores import available
from tokbench.data.base import ImageDataset, Split, digest, evenly
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage, load_image
from tokbench.data.waiting import progress
from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.weights import cache_dir

HELD_OUT = 10
"""Where a source names no splits, one picture in so many is held out, decided by a hash of its id."""

CHECKED_TRAINING_PICTURES = 10_000
"""Larger training sets are not decoded once in advance: their damaged pictures are found, and replaced, on the way."""


class WholePictures(ImageDataset):
    """Pictures at positions of some store. Subclasses give ``name``, ``label``, ``encoded`` and ``store``."""

    kept: np.ndarray

    def name(self, position: int) -> str:
        """The stable id of one picture: a relative path, a row index or a key."""
        raise NotImplementedError

    def label(self, position: int) -> int:
        """Its class, -1 where there is none."""
        raise NotImplementedError

    def encoded(self, position: int) -> bytes | Path:
        """Its file, or the file's bytes."""
        raise NotImplementedError

    @property
    def store(self) -> str:
        """A hash that changes when a file does: key of what is remembered about damaged pictures."""
        raise NotImplementedError

    def select(self, positions: Iterable[int], limit: int | None) -> None:
        """Keep ``limit`` of the positions, spread evenly, less those that cannot be read.

        Evaluation splits, and training sets of up to 10,000 pictures, are decoded once; what was found is remembered
        in the user's cache until a file changes.

        Raises:
            TokbenchError: where no readable picture is left.
        """
        candidates = np.fromiter(positions, dtype=np.int64)
        if not len(candidates):
            raise TokbenchError(f"{self.source}: no pictures in its {self.split} split")
        self.kept = candidates[evenly(len(candidates), limit)]
        if self.split == "eval" or len(self.kept) <= CHECKED_TRAINING_PICTURES:
            bad = self._unreadable()
            self.skipped.extend((self.name(position), reason) for position, reason in bad.items())
            self.kept = self.kept[[int(position) not in bad for position in self.kept]]
        if not len(self.kept):
            name, reason = self.skipped[0]
            raise TokbenchError(
                f"{self.source}: none of the {len(self.skipped)} pictures of its {self.split} split can be read; "
                f"the first is {name}: {reason}"
            )

    def __len__(self) -> int:
        return len(self.kept)

    def picture(self, index: int) -> tuple[Image.Image, int, str]:
        """(decoded RGB picture, label, id). Raises UnreadableImage."""
        position = int(self.kept[index])
        name = self.name(position)
        return load_image(self.encoded(position), name=name), self.label(position), name

    @property
    def fingerprint(self) -> str:
        """16 hex digits: content, which pictures of it, and preprocessing."""
        return self.fingerprint_with(self.view)

    def fingerprint_with(self, view: View) -> str:
        """What the fingerprint of the same pictures would be under another view."""
        kept = hashlib.sha256(self.kept.astype("<i8").tobytes()).hexdigest()
        return digest(self.content, kept, self.split, view.describe())

    def _unreadable(self) -> dict[int, str]:
        """Position -> reason, decoded now or remembered."""
        kept = hashlib.sha256(self.kept.astype("<i8").tobytes()).hexdigest()
        exact = str(self.image_size) if self.view.crop == "none" else ""
        key = digest("checked 1", PIL.__version__, self.store, kept, exact)
        file = cache_dir() / "checked" / f"{key}.json"
        try:
            return {int(position): str(reason) for position, reason in json.loads(file.read_text("utf-8"))}
        except (OSError, ValueError, TypeError):
            bad = self._decode_all()
            remember(file, sorted(bad.items()))
            return bad

    def _decode_all(self) -> dict[int, str]:
        def problem(index: int) -> str | None:
            try:
                image, _, _ = self.picture(index)
                if self.view.crop == "none":
                    self.view(image, 0, 0)
            except UnreadableImage as error:
                return error.reason
            except ValueError as error:
                return str(error)
            return None

        bad: dict[int, str] = {}
        what = f"checking {self.source} ({self.split}), once"
        with ThreadPoolExecutor(min(16, available())) as pool, progress(what, len(self.kept)) as bar:
            for start in range(0, len(self.kept), 1024):
                block = range(start, min(start + 1024, len(self.kept)))
                for index, reason in zip(block, pool.map(problem, block), strict=True):
                    if reason is not None:
                        bad[int(self.kept[index])] = reason
                bar.advance(TaskID(0), len(block))
        return bad


def hash_split(names: list[str], split: Split, source: str) -> list[int]:
    """Positions of the pictures of ``split`` where the source itself names none: about one in ten is held out.

    A picture's side depends on its own id only, so that adding pictures moves none of the others.
    """
    if len(names) == 1:
        raise TokbenchError(
            f"{source}: one picture cannot be both trained on and held out; name what it is for "
            f"({source.partition(':')[0]}:eval=...)"
        )
    hashes = [int.from_bytes(hashlib.sha256(n.encode("utf-8", "surrogateescape")).digest()[:8], "big") for n in names]
    held_out = {k for k, value in enumerate(hashes) if value % HELD_OUT == 0}
    if not held_out:
        held_out = {min(range(len(names)), key=hashes.__getitem__)}
    elif len(held_out) == len(names):
        held_out.remove(max(range(len(names)), key=hashes.__getitem__))
    return [k for k in range(len(names)) if (k in held_out) == (split == "eval")]


def remember(file: Path, content: Any) -> None:
    """Whole or not at all; where the cache cannot be written the next opening decodes again."""
    with suppress(TokbenchError):
        write(file, json.dumps(content))
