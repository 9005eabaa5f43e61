"""The code cache: a tokenizer's codes on disk, memory-mapped, so that a generator trains without the encoder.

A cache is a folder with a folder for each split; a split holds ``header.json``, ``codes-00000.bin`` and so on (raw
little-endian, (count, H, W, D)), ``labels.bin`` (int64), ``histogram.bin`` (int64, the counts of each depth's codes one
after the other) and, where asked for, ``latents-00000.bin`` (float16, (count, H, W, C)).
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from torch import Tensor

from tokbench.config.base import Strict
from tokbench.data.base import evenly
from tokbench.errors import TokbenchError, printable

FORMAT = 1
_HEADER, _LABELS, _HISTOGRAM = "header.json", "labels.bin", "histogram.bin"
_BEGUN, _DONE, _LOCK = "begun.json", "done.json", "lock"  # of a cache that is not whole yet


class CodeHeader(Strict):
    """``header.json``: what the codes are and how they came about."""

    format: int = FORMAT
    tokenizer: str
    tokenizer_sha256: str
    codebook_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    image_size: PositiveInt
    source: str
    split: str
    preprocessing: str
    fingerprint: str  # of the images
    passes: int = 1  # over the images, each with other random crops and flips
    classes: tuple[str, ...] = ()
    count: NonNegativeInt = 0
    shards: tuple[NonNegativeInt, ...] = ()  # images in each
    latent_channels: PositiveInt | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> CodeHeader:
        if sum(self.shards) != self.count:
            raise ValueError(f"its shards have {sum(self.shards)} images and not {self.count}")
        if self.shape[2] != len(self.codebook_sizes):
            raise ValueError(f"{len(self.codebook_sizes)} vocabularies for codes of depth {self.shape[2]}")
        if max(self.codebook_sizes) > 2**32:
            raise ValueError(f"codes of a vocabulary of {max(self.codebook_sizes)} do not fit into 32 bits")
        return self

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint16 and uint32 that holds every code."""
        return np.dtype("<u2" if max(self.codebook_sizes) <= 2**16 else "<u4")


class CodeBatch(TypedDict, total=False):
    """``codes`` int64 (B, H, W, D), ``label`` int64 (B,), ``id`` B strings, ``latents`` float16 (B, H, W, C)."""

    codes: Tensor
    label: Tensor
    id: list[str]
    latents: Tensor


class CodeWriter:
    """Writes one split, whole or not at all: a context manager; ``add`` batches, and the folder appears at the end.

    A writer that was killed or interrupted leaves what it has beside the folder. The next one of the same header,
    ``shard`` and ``batch_size`` goes on from there: ``position`` is that of the last batch kept, None where there is
    none.
    """

    def __init__(self, folder: Path, header: CodeHeader, *, shard: int = 65536, batch_size: int | None = None) -> None:
        if folder.exists():
            raise TokbenchError(f"{folder}: exists already; delete it or choose another --out")
        self.folder, self.header, self.shard = folder, header, shard
        self._begun = json.dumps({"header": header.model_dump(mode="json"), "shard": shard, "batch_size": batch_size})
        self.scratch = folder.with_name(f".{folder.name}.part")
        self.shards: list[int] = []
        self.position: tuple[int, ...] | None = None
        self.counts = [np.zeros(size, dtype=np.int64) for size in header.codebook_sizes]

    def __enter__(self) -> CodeWriter:
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._lock = (self.scratch / _LOCK).open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise TokbenchError(f"{self.folder}: another process is writing it") from None
            if not self._go_on():
                for path in self.scratch.iterdir():
                    if path.name != _LOCK:
                        path.unlink()
                self.shards, self.position = [], None
                self.counts = [np.zeros_like(counts) for counts in self.counts]
                (self.scratch / _BEGUN).write_text(self._begun)
        except OSError as error:
            raise TokbenchError(f"{self.folder}: cannot be written: {error.strerror}") from None
        return self

    def _go_on(self) -> bool:
        """Take up what an earlier writer left; False where that is nothing, or of something else."""
        try:
            if (self.scratch / _BEGUN).read_text() != self._begun:
                return False
            done = json.loads((self.scratch / _DONE).read_text())
            self.shards, self.position = list(done["shards"]), tuple(done["position"])
            # What was written after the last mark may be half a batch.
            _cut(self.scratch / _LABELS, sum(self.shards) * 8)
            for number, count in enumerate(self.shards):
                for kind, dtype, row in self._kinds():
                    _cut(self._file(kind, number), count * math.prod(row) * dtype.itemsize)
                codes = np.fromfile(self._file("codes", number), self.header.dtype).reshape(-1, self.header.shape[2])
                self._count(codes)
            for file in self.scratch.glob("*-*.bin"):
                if int(file.stem.rpartition("-")[2]) >= len(self.shards):
                    file.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def _kinds(self) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
        h = self.header
        kinds: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = [("codes", h.dtype, h.shape)]
        if h.latent_channels is not None:
            kinds.append(("latents", np.dtype("<f2"), (*h.shape[:2], h.latent_channels)))
        return kinds

    def _count(self, codes: np.ndarray[Any, Any]) -> None:
        for depth, counts in enumerate(self.counts):
            counts += np.bincount(codes[..., depth].ravel(), minlength=len(counts))

    def add(
        self, codes: Tensor, labels: Tensor, latents: Tensor | None = None, position: tuple[int, ...] | None = None
    ) -> None:
        """codes int64 (B, H, W, D), labels (B,), latents (B, H, W, C) where the header has latent channels.

        ``position``: by which whoever goes on later finds the batch after this one; without it, not from here.
        """
        if tuple(codes.shape[1:]) != self.header.shape:
            raise TokbenchError(
                f"codes of shape {tuple(codes.shape[1:])} do not go into a cache of {self.header.shape}"
            )
        array = codes.cpu().numpy()
        self._count(array)
        self._append(self.scratch / _LABELS, labels.cpu().numpy().astype("<i8"))
        start = 0
        while start < len(array):
            if not self.shards or self.shards[-1] == self.shard:
                self.shards.append(0)
            end, number = min(len(array), start + self.shard - self.shards[-1]), len(self.shards) - 1
            self._append(self._file("codes", number), array[start:end].astype(self.header.dtype))
            if self.header.latent_channels is not None:
                assert latents is not None
                self._append(self._file("latents", number), latents[start:end].cpu().numpy().astype("<f2"))
            self.shards[-1] += end - start
            start = end
        if position is not None:
            mark = self.scratch / f"{_DONE}.new"
            mark.write_text(json.dumps({"shards": self.shards, "position": position}))
            os.replace(mark, self.scratch / _DONE)
            self.position = position

    def _file(self, kind: str, number: int) -> Path:
        return self.scratch / f"{kind}-{number:05d}.bin"

    def _append(self, file: Path, array: np.ndarray[Any, Any]) -> None:
        with file.open("ab") as out:
            out.write(np.ascontiguousarray(array).data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, OSError):
                why = f"the cache could not be written: {error.strerror}; what is there stays, once more goes on"
                raise TokbenchError(f"{self.folder}: {why}") from None
            if kind is None:
                self._finish()
            elif self.position is None or issubclass(kind, Exception):  # Ctrl-C is none, and goes on later
                shutil.rmtree(self.scratch, ignore_errors=True)
        finally:
            self._lock.close()

    def _finish(self) -> None:
        (self.scratch / _LABELS).touch()
        (self.scratch / _HISTOGRAM).write_bytes(np.concatenate(self.counts).astype("<i8").tobytes())
        header = self.header.model_copy(update={"count": sum(self.shards), "shards": tuple(self.shards)})
        (self.scratch / _HEADER).write_text(header.model_dump_json(indent=2) + "\n")
        for name in (_BEGUN, _DONE, _LOCK):
            (self.scratch / name).unlink(missing_ok=True)
        os.replace(self.scratch, self.folder)


def _cut(file: Path, size: int) -> None:
    if file.stat().st_size < size:
        raise ValueError(f"{file}: shorter than it was")
    os.truncate(file, size)


class CodeCache:
    """One split, opened: nothing is read but the header and the labels.

    Raises:
        TokbenchError: no cache there, a file missing or cut short, or another format.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, limit: int | None = None) -> None:
        self.folder = Path(folder) / split
        self.header = _read_header(self.folder)
        h = self.header
        self.labels = self._mapped(_LABELS, "<i8", (h.count,))
        self._codes = [self._mapped(f"codes-{i:05d}.bin", h.dtype, (n, *h.shape)) for i, n in enumerate(h.shards)]
        self._latents = []
        if h.latent_channels is not None:
            row = (*h.shape[:2], h.latent_channels)
            self._latents = [self._mapped(f"latents-{i:05d}.bin", "<f2", (n, *row)) for i, n in enumerate(h.shards)]
        self._starts = np.cumsum([0, *h.shards])
        self._chosen = np.asarray(evenly(h.count, limit), dtype=np.int64)

    def _mapped(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        path, wanted = self.folder / name, math.prod(shape) * np.dtype(dtype).itemsize
        if not path.is_file():
            raise TokbenchError(f"{path}: missing from the cache; encode again")
        if path.stat().st_size != wanted:
            raise TokbenchError(
                f"{path}: {path.stat().st_size} bytes, not {wanted}: cut short or changed; encode again"
            )
        if not wanted:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)

    def __len__(self) -> int:
        return len(self._chosen)

    def check_tokenizer(self, sha256: str, source: str) -> None:
        """TokbenchError unless the codes are of the tokenizer with these weights."""
        if sha256 != self.header.tokenizer_sha256:
            raise TokbenchError(
                f"{self.folder}: codes of another tokenizer ({self.header.tokenizer}, weights "
                f"{self.header.tokenizer_sha256[:12]}; {source} has {sha256[:12]}); encode again"
            )

    def read(self, indices: np.ndarray[Any, Any] | list[int]) -> CodeBatch:
        """The images of these numbers, in their order.

        Raises:
            TokbenchError: codes outside their vocabulary, or a label that is no class: the file was changed.
        """
        rows = self._chosen[np.asarray(indices, dtype=np.int64)]
        codes, labels = self._gather(self._codes, rows), self.labels[rows]
        self._check(codes, labels, rows)
        batch: CodeBatch = {
            "codes": torch.from_numpy(codes.astype(np.int64)),
            "label": torch.from_numpy(labels.astype(np.int64)),
            "id": [f"{self.header.source} #{row}" for row in rows],
        }
        if self._latents:
            batch["latents"] = torch.from_numpy(self._gather(self._latents, rows))
        return batch

    def _check(self, codes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> None:
        if not len(rows):
            return
        sizes = np.asarray(self.header.codebook_sizes, dtype=np.int64)
        beyond = (codes >= sizes).reshape(len(rows), -1).any(axis=1)
        if beyond.any():
            row = int(rows[beyond.argmax()])
            shard = int(np.searchsorted(self._starts, row, side="right")) - 1
            raise TokbenchError(
                f"{self.folder / f'codes-{shard:05d}.bin'}: image {row} has codes outside the vocabularies "
                f"{list(self.header.codebook_sizes)[:8]}: damaged; encode again"
            )
        classes = len(self.header.classes)
        if labels.min() < -1 or (classes and labels.max() >= classes):
            file = self.folder / _LABELS
            raise TokbenchError(f"{file}: a label is none of the {classes} classes: damaged; encode again")

    def _gather(self, shards: list[np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.empty((len(rows), *shards[0].shape[1:]), shards[0].dtype)
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shard):
            here = shard == number
            out[here] = shards[number][rows[here] - self._starts[number]]
        return out

    @property
    def histogram(self) -> list[np.ndarray[Any, Any]]:
        """How often each code occurs, int64 (K_d,) for every depth."""
        sizes = self.header.codebook_sizes
        counts = self._mapped(_HISTOGRAM, "<i8", (sum(sizes),))
        if counts.min() < 0:
            raise TokbenchError(f"{self.folder / _HISTOGRAM}: counts below nothing: damaged; encode again")
        return [np.array(part) for part in np.split(counts, np.cumsum(sizes)[:-1])]


class CodeLoader:
    """Shuffled batches of a cache for one process, in an order that depends on (seed, epoch) alone.

    Together the ranks see what one process with the joined batch would; an incomplete last batch is left out.
    """

    def __init__(self, cache: CodeCache, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.cache, self.batch_size, self.seed = cache, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start_batch = 0
        if len(cache) < batch_size * world_size:
            raise TokbenchError(
                f"{cache.folder} has {len(cache)} images, fewer than one batch of {batch_size * world_size}"
            )

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration goes through."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.cache) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[CodeBatch]:
        random = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]))
        order = random.permutation(len(self.cache))
        total = self.batch_size * self.world_size
        start, self.start_batch = self.start_batch, 0
        for number in range(start, len(self)):
            first = number * total + self.rank * self.batch_size
            yield self.cache.read(order[first : first + self.batch_size])


def _read_header(folder: Path) -> CodeHeader:
    path = folder / _HEADER
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except FileNotFoundError:
        raise TokbenchError(f"{folder}: no code cache there; make one with tokbench encode") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = printable(str(error), 120)
        raise TokbenchError(f"{path}: not a code cache's header ({reason}); encode again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise TokbenchError(f"{path}: a code cache of another format; encode again")
    try:
        return CodeHeader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = printable(".".join(map(str, first["loc"])), 60)
        what = printable(first["msg"].removeprefix("Value error, "), 160)
        raise TokbenchError(f"{path}: {where + ': ' if where else ''}{what}; encode again") from None
