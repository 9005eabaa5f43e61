"""The code cache: a tokenizer's codes on disk, memory-mapped, so that a generator trains without the encoder.

What its files are: ``header``; how they are written: ``writer``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from quantizers.usage import DENSE_LIMIT
from tokbench.codes.header import CAPTIONS, HISTOGRAM, LABELS, read_header
from tokbench.data.base import evenly
from tokbench.errors import TokbenchError


class CodeBatch(TypedDict, total=False):
    """``codes`` int64 (B, *grid, D), ``label`` int64 (B,), ``id`` B strings, ``latents`` float16 (B, *grid, C); of
    pairs ``condition`` int64 (B, *grid, D), of its own grid and depth; ``text`` B captions, once asked for."""

    codes: Tensor
    label: Tensor
    id: list[str]
    latents: Tensor
    condition: Tensor
    text: list[str]


class CodeCache:
    """One split, opened: nothing is read but the header and the labels.

    Raises:
        TokbenchError: no cache there, a file missing or cut short, or another format.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, limit: int | None = None) -> None:
        self.folder = Path(folder) / split
        self.header = read_header(self.folder)
        h = self.header
        self.labels = self._mapped(LABELS, "<i8", (h.count,))
        self._codes = [self._mapped(f"codes-{i:05d}.bin", h.dtype, (n, *h.shape)) for i, n in enumerate(h.shards)]
        self._latents = []
        if h.latent_channels is not None:
            row = h.latent_shape
            self._latents = [self._mapped(f"latents-{i:05d}.bin", "<f2", (n, *row)) for i, n in enumerate(h.shards)]
        self._conditions = []
        if h.condition is not None:
            of = h.condition.shape
            self._conditions = [self._mapped(f"condition-{i:05d}.bin", "<u4", (n, *of)) for i, n in enumerate(h.shards)]
        self._starts = np.cumsum([0, *h.shards])
        self._chosen = np.asarray(evenly(h.count, limit), dtype=np.int64)
        self._captions: list[str] = []

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

    def read_captions(self) -> None:
        """Have batches come with their captions.

        Raises:
            TokbenchError: the cache has none, or their file was changed.
        """
        path, count = self.folder / CAPTIONS, self.header.count
        if not self.header.captions:
            raise TokbenchError(f"{self.folder}: holds no captions; encode images that have some with --captions")
        try:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError, RecursionError):
            found = []
        if len(found) != count or not all(isinstance(text, str) for text in found):
            raise TokbenchError(f"{path}: not the captions of {count} images: cut short or changed; encode again")
        self._captions = found

    def give_coordinates(self) -> None:
        """TokbenchError: where a crop lay is not kept."""
        raise TokbenchError(f"{self.folder}: codes do not say where in its image a crop lies: name the images")

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
            TokbenchError: codes outside their vocabulary, or a label that is not a class: the file was changed.
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
        if self._conditions:
            batch["condition"] = torch.from_numpy(self._gather(self._conditions, rows).astype(np.int64))
        if self._captions:
            batch["text"] = [self._captions[row] for row in rows]
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
            file = self.folder / LABELS
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
        """How often each code occurs, int64 (K_d,) for every depth.

        Raises:
            TokbenchError: a vocabulary so large that only those codes were counted that occur, or a damaged file.
        """
        sizes = self.header.codebook_sizes
        if not self._is_dense:
            raise TokbenchError(
                f"{self.folder}: {max(sizes):,} codes are too many to code by frequency; use a generator"
            )
        counts = self._mapped(HISTOGRAM, "<i8", (sum(sizes),))
        if counts.min() < 0:
            raise TokbenchError(f"{self.folder / HISTOGRAM}: counts below nothing: damaged; encode again")
        return [np.array(part) for part in np.split(counts, np.cumsum(sizes)[:-1])]

    @property
    def histogram_sha256(self) -> str:
        """What tells these codes from others of the same images."""
        if self._is_dense:
            return hashlib.sha256(np.concatenate(self.histogram).tobytes()).hexdigest()
        return hashlib.sha256((self.folder / HISTOGRAM).read_bytes()).hexdigest()

    @property
    def _is_dense(self) -> bool:
        path, sizes = self.folder / HISTOGRAM, self.header.codebook_sizes
        return max(sizes) <= DENSE_LIMIT or not path.is_file() or path.stat().st_size == 8 * sum(sizes)


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
