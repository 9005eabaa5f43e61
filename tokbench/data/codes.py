"""The code cache: a tokenizer's codes on disk, memory-mapped, so that a generator trains without the encoder.

A cache is a folder with a folder for each split; a split holds ``header.json``, ``codes-00000.bin`` and so on (raw
little-endian, (count, H, W, D)), ``labels.bin`` (int64), ``histogram.bin`` (int64, the counts of each depth's codes one
after the other) and, where asked for, ``latents-00000.bin`` (float16, (count, H, W, C)).
"""

from __future__ import annotations

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
    """Writes one split, whole or not at all: a context manager; ``add`` batches, and the folder appears at the end."""

    def __init__(self, folder: Path, header: CodeHeader, *, shard: int = 65536) -> None:
        if folder.exists():
            raise TokbenchError(f"{folder}: exists already; delete it or choose another --out")
        self.folder, self.header, self.shard = folder, header, shard
        self.scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        self.shards: list[int] = []
        self.labels: list[np.ndarray[Any, Any]] = []
        self.counts = [np.zeros(size, dtype=np.int64) for size in header.codebook_sizes]

    def __enter__(self) -> CodeWriter:
        shutil.rmtree(self.scratch, ignore_errors=True)
        try:
            self.scratch.mkdir(parents=True)
        except OSError as error:
            raise TokbenchError(f"{self.folder}: cannot be written: {error.strerror}") from None
        return self

    def add(self, codes: Tensor, labels: Tensor, latents: Tensor | None = None) -> None:
        """codes int64 (B, H, W, D), labels (B,), latents (B, H, W, C) where the header has latent channels."""
        if tuple(codes.shape[1:]) != self.header.shape:
            raise TokbenchError(
                f"codes of shape {tuple(codes.shape[1:])} do not go into a cache of {self.header.shape}"
            )
        array = codes.cpu().numpy()
        for depth, counts in enumerate(self.counts):
            counts += np.bincount(array[..., depth].ravel(), minlength=len(counts))
        self.labels.append(labels.cpu().numpy().astype("<i8"))
        start = 0
        while start < len(array):
            if not self.shards or self.shards[-1] == self.shard:
                self.shards.append(0)
            end = min(len(array), start + self.shard - self.shards[-1])
            self._append("codes", array[start:end].astype(self.header.dtype))
            if self.header.latent_channels is not None:
                assert latents is not None
                self._append("latents", latents[start:end].cpu().numpy().astype("<f2"))
            self.shards[-1] += end - start
            start = end

    def _append(self, kind: str, array: np.ndarray[Any, Any]) -> None:
        with (self.scratch / f"{kind}-{len(self.shards) - 1:05d}.bin").open("ab") as file:
            file.write(np.ascontiguousarray(array).data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise TokbenchError(f"{self.folder}: the cache could not be written: {error.strerror}") from None
            return
        labels = np.concatenate(self.labels) if self.labels else np.zeros(0, "<i8")
        (self.scratch / _LABELS).write_bytes(labels.tobytes())
        (self.scratch / _HISTOGRAM).write_bytes(np.concatenate(self.counts).astype("<i8").tobytes())
        header = self.header.model_copy(update={"count": len(labels), "shards": tuple(self.shards)})
        (self.scratch / _HEADER).write_text(header.model_dump_json(indent=2) + "\n")
        os.replace(self.scratch, self.folder)


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
