"""Sets of whole images (folder, table, shards): which of them are in a split, and which cannot be read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from rich.progress import TaskID

from tokbench.cores import available
from tokbench.data.base import AnySplit, ImageDataset, Split, digest, evenly
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.media import VIDEOS
from tokbench.data.part import Part
from tokbench.data.waiting import progress
from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.weights import cache_dir

HELD_OUT = 10
"""Where a source names no splits, one image in so many is held out, decided by a hash of its id."""

READING = "2"
"""Part of every fingerprint: another one where the same files come to mean other pixels, labels or ids."""

CHECKED_TRAINING_PICTURES = 10_000
"""Larger training sets are not decoded once in advance: their damaged images are found, and replaced, on the way."""

CHECKED_TRAINING_VIDEOS = 1_000
"""The same of videos, each of which has hundreds of frames to decode."""


class WholePictures(ImageDataset):
    """Images at positions of some store. Subclasses give ``name``, ``label``, ``encoded`` and ``store``."""

    places_crops = True
    kept: np.ndarray
    starts: np.ndarray | None = None  # of samples of which a file gives several: where each begins in it
    _bytes: str | None = None  # a hash of all the images, where each of them was read

    def name(self, position: int) -> str:
        """The stable id of one image: a relative path, a row index or a key."""
        raise NotImplementedError

    def label(self, position: int) -> int:
        """Its class, -1 where there is none."""
        raise NotImplementedError

    def encoded(self, position: int) -> bytes | Path:
        """Its file, or the file's bytes."""
        raise NotImplementedError

    @property
    def store(self) -> str:
        """A hash that changes whenever a file may have, made without reading it: the key of what is remembered."""
        raise NotImplementedError

    def caption(self, position: int) -> str:
        """The text that goes with it, in one line, "" where there is none. Raises UnreadableImage where it cannot be
        read."""
        return ""

    def read_captions(self) -> None:
        texts, kept = [], []
        for position in self.kept:
            try:
                text, reason = self.caption(int(position)), "no caption"
            except UnreadableImage as error:
                text, reason = "", error.reason
            if text:
                texts.append(text)
                kept.append(position)
            else:
                self.skipped.append((self.name(int(position)), reason))
        if not texts or self.starts is not None:
            super().read_captions()
        self.kept, self.captions = np.array(kept, dtype=np.int64), texts

    def select(self, positions: Iterable[int], limit: int | None, total: int | None = None) -> None:
        """Keep ``limit`` of the positions, spread evenly, less those that cannot be read.

        ``total``: the images that the source has, where it names no splits and these were held out, or left, by hash.

        Evaluation splits, and training sets of up to 10,000 images, are decoded once; what was found is remembered
        in the user's cache until a file changes.

        Raises:
            TokbenchError: where no readable image is left.
        """
        candidates = np.fromiter(positions, dtype=np.int64)
        if not len(candidates):
            raise TokbenchError(f"{self.source}: no {self.view.media.many} in its {self.split} split")
        self.kept = candidates[evenly(len(candidates), limit)]
        self.of, self.share = share_of(
            self.source, self.split, len(self.kept), len(candidates), total, self.view.media.many
        )
        if self.split == "eval" or len(self.kept) <= self._checked:
            self._bytes, bad, facts = self._examined()
            self.skipped.extend((self.name(position), reason) for position, reason in bad.items())
            self.kept = self.kept[[int(position) not in bad for position in self.kept]]
            self._take_samples(facts, limit)
        if not len(self.kept):
            name, reason = self.skipped[0]
            raise TokbenchError(
                f"{self.source}: none of the {len(self.skipped)} {self.view.media.many} of its {self.split} split can "
                f"be read; the first is {name}: {reason}"
            )

    @property
    def _checked(self) -> float:
        """How many files are read wholly once, in training."""
        if self.view.needs_facts:
            return float("inf")
        return CHECKED_TRAINING_VIDEOS if self.view.media is VIDEOS else CHECKED_TRAINING_PICTURES

    def _take_samples(self, facts: dict[int, list[int]], limit: int | None) -> None:
        """Several samples of each file, where the view takes several; what it says of the files becomes a note."""
        self.notes = [*self.notes, *self.view.remarks({self.name(p): found for p, found in facts.items()})]
        starts = {position: self.view.starts(found) for position, found in facts.items()}
        none = f"damage in each {self.view.media.sample}"
        self.skipped.extend((self.name(position), none) for position, found in starts.items() if found == [])
        if any(found is not None for found in starts.values()):
            every = [(position, start) for position in self.kept for start in starts[int(position)] or ()]
            chosen = [every[k] for k in evenly(len(every), limit)]
            self.kept = np.array([position for position, _ in chosen], dtype=np.int64)
            self.starts = np.array([start for _, start in chosen], dtype=np.int64)
        rates = {position: self.view.rate_of(found) for position, found in facts.items()}
        seconds = [1 / rate for position in self.kept if (rate := rates.get(int(position)))]  # of one frame
        if seconds and len(seconds) == len(self.kept):
            self.frame_rate = len(seconds) / sum(seconds)

    def __len__(self) -> int:
        return len(self.kept)

    def part(self, share: float, held_out: bool) -> ImageDataset:
        """By position, spread evenly, so that class-sorted sets stay mixed."""
        if self.view.media is VIDEOS:
            return super().part(share, held_out)
        return Part(self, share, held_out)

    def raw_sample(self, index: int) -> tuple[Any, int, str]:
        """(what the view loads: a decoded RGB image, label, id). Raises UnreadableImage."""
        position = int(self.kept[index])
        name = self.name(position)
        return self.view.load(self.encoded(position), name, self.start(index)), self.label(position), name

    def start(self, index: int) -> int | None:
        """Where the sample begins in its file; None where the view decides."""
        return None if self.starts is None else int(self.starts[index])

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when a sample does: images, ids, labels, classes, split, preprocessing.

        Images that were decoded once in advance (``select``) count by all their bytes, so that a copy elsewhere is
        the same set and an equally named, equally large one is not. Reading larger training sets for it would take
        hours: they count by ``content``, which has the files' times; the same files under other times then pass for
        others, and only a file of the same name, size and time that was put in another's place is not noticed.
        """
        return self.fingerprint_with(self.view)

    def fingerprint_with(self, view: View) -> str:
        """What the fingerprint of the same images would be under another view."""
        if self._bytes is None:
            known = digest(self.content, self._positions())
        else:
            known = digest(self._bytes, *(f"{self.name(position)} {self.label(position)}" for position in self.kept))
        texts = [] if self.captions is None else ["captions", *self.captions]
        return digest(READING, known, self.split, view.describe(), *self.classes, *texts)

    def _positions(self) -> str:
        return hashlib.sha256(self.kept.astype("<i8").tobytes()).hexdigest()

    def _examined(self) -> tuple[str, dict[int, str], dict[int, list[int]]]:
        """A hash of the readable files' bytes, position -> reason of the others, and what the view says of those that
        are readable: found now, or remembered."""
        key = digest("checked 2", PIL.__version__, self.store, self._positions(), self.view.examines)
        file = cache_dir() / "checked" / f"{key}.json"
        try:
            known = json.loads(file.read_text("utf-8"))
            bad = {int(position): str(reason) for position, reason in known["bad"]}
            return str(known["bytes"]), bad, {int(position): found for position, found in known.get("facts", ())}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            hashes, bad, facts, lasting = self._examine_all()
            content = digest(*hashes)
            if lasting:
                remember(file, {"bytes": content, "bad": sorted(bad.items()), "facts": sorted(facts.items())})
            return content, bad, facts

    def _examine_all(self) -> tuple[list[str], dict[int, str], dict[int, list[int]], bool]:
        """The hashes, what is bad and what the view says; and whether it stays so until a file changes: what the system
        refused (a disk's error, no permission, a server that is gone) may be read the next time."""
        lasting = True

        def look(index: int) -> tuple[str, list[int], str | None]:
            nonlocal lasting
            try:
                loaded, _, _ = self.raw_sample(index)
                facts = self.view.examine(loaded)
                encoded = self.encoded(int(self.kept[index]))
                data = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
            except UnreadableImage as error:
                lasting = lasting and not _refused(error.__cause__)
                return "", [], error.reason
            except OSError as error:
                lasting = lasting and not _refused(error)
                return "", [], error.strerror or "cannot be opened"
            except ValueError as error:
                return "", [], str(error)
            return hashlib.sha256(data).hexdigest(), facts, None

        hashes: list[str] = []
        bad: dict[int, str] = {}
        facts: dict[int, list[int]] = {}
        what = f"checking {self.source} ({self.split}), once"
        with ThreadPoolExecutor(min(16, available())) as pool, progress(what, len(self.kept)) as bar:
            for start in range(0, len(self.kept), 1024):
                block = range(start, min(start + 1024, len(self.kept)))
                for index, (found, said, reason) in zip(block, pool.map(look, block), strict=True):
                    if reason is None:
                        hashes.append(found)
                        facts |= {int(self.kept[index]): said} if said else {}
                    else:
                        bad[int(self.kept[index])] = reason
                bar.advance(TaskID(0), len(block))
        return hashes, bad, facts, lasting


def _refused(error: BaseException | None) -> bool:
    """Whether it is the system's: those that decoders make of damage have no number."""
    return isinstance(error, OSError) and error.errno is not None


def hash_split(names: list[str], split: Split, source: str) -> list[int]:
    """Positions of the images of ``split`` where the source itself names none: about one in ten is held out.

    An image's side depends on its own id only, so that adding images moves none of the others.
    """
    if len(names) == 1:
        raise TokbenchError(
            f"{source}: one image cannot be both trained on and held out; name what it is for "
            f"({source.partition(':')[0]}:eval=...)"
        )
    hashes = [int.from_bytes(hashlib.sha256(n.encode("utf-8", "surrogateescape")).digest()[:8], "big") for n in names]
    held_out = {k for k, value in enumerate(hashes) if value % HELD_OUT == 0}
    if not held_out:
        held_out = {min(range(len(names)), key=hashes.__getitem__)}
    elif len(held_out) == len(names):
        held_out.remove(max(range(len(names)), key=hashes.__getitem__))
    return [k for k in range(len(names)) if (k in held_out) == (split == "eval")]


def share_of(
    source: str, split: AnySplit, kept: int, candidates: int, total: int | None, many: str
) -> tuple[int | None, str]:
    """``ImageDataset.of`` and ``share`` of a source of ``many``: images, maps or videos."""
    parts = []
    if total is not None and candidates < total:
        kind, _, rest = source.partition(":")
        every = "" if kind == "hub" else f"; to take all, write {kind}:{split}={rest}"
        done = "held out" if split == "eval" else "not held out"
        parts.append(f"{source} names no splits: {candidates} of its {total} {many} are {done}, by their names{every}")
    if kept < candidates:
        parts.append(f"{source} ({split}): {kept} of {candidates} {many}, by the limit")
    return (total or candidates) if parts else None, ". ".join(parts)


def stamp(status: os.stat_result) -> str:
    """What changes whenever a file's bytes do: its size and times, of which nobody can set back the last."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def stamped(file: Path) -> str:
    """A file's place with its ``stamp``."""
    return f"{file.resolve()} {stamp(file.stat())}"


def own_cache(files: Sequence[Path]) -> str:
    """Where ``datasets`` is to keep what it makes of local files: it would take a changed file of the same time for the
    one it knows."""
    import datasets

    key = digest(*(stamped(file) for file in files))
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "tokbench" / key)


def remember(file: Path, content: Any) -> None:
    """Whole or not at all; where the cache cannot be written the next opening decodes again."""
    with suppress(TokbenchError):
        write(file, json.dumps(content))
