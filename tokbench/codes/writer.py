"""Writing a split of a code cache, whole or not at all, and going on where a killed writer stopped."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quantizers.usage import Usage
from tokbench.codes.header import CAPTIONS, HEADER, HISTOGRAM, LABELS, CodeHeader
from tokbench.errors import TokbenchError
from tokbench.results.locks import flock

_BEGUN, _DONE, _LOCK = "begun.json", "done.json", "lock"  # of a cache that is not whole yet


class CodeWriter:
    """Writes one split, whole or not at all: a context manager; ``add`` batches, and the folder appears at the end.

    A writer that was killed or interrupted leaves what it has beside the folder. The next one of the same header,
    ``shard`` and ``batch_size`` continues from there: ``position`` is that of the last batch kept, None where there is
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
        self.usage = Usage(header.codebook_sizes)

    def __enter__(self) -> CodeWriter:
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._lock = (self.scratch / _LOCK).open("w")
            try:
                flock(self._lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise TokbenchError(f"{self.folder}: another process is writing it") from None
            if self.folder.exists():  # by whoever held the lock until now
                shutil.rmtree(self.scratch, ignore_errors=True)
                raise TokbenchError(f"{self.folder}: another process has just written it")
            if not self._go_on():
                for path in self.scratch.iterdir():
                    if path.name != _LOCK:
                        path.unlink()
                self.shards, self.position = [], None
                self.usage.reset()
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
            _cut(self.scratch / LABELS, sum(self.shards) * 8)
            if self.header.captions:
                _cut_lines(self.scratch / CAPTIONS, sum(self.shards))
            for number, count in enumerate(self.shards):
                for kind, dtype, row in self._kinds():
                    _cut(self._file(kind, number), count * math.prod(row) * dtype.itemsize)
                codes = np.fromfile(self._file("codes", number), self.header.dtype).reshape(-1, self.header.shape[-1])
                self.usage.update(torch.from_numpy(codes.astype(np.int64)))
            for file in self.scratch.glob("*-*.bin"):
                if int(file.stem.rpartition("-")[2]) >= len(self.shards):
                    file.unlink()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    def _kinds(self) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
        h = self.header
        kinds: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = [("codes", h.dtype, h.shape)]
        if h.latent_channels is not None:
            kinds.append(("latents", np.dtype("<f2"), h.latent_shape))
        if h.condition is not None:
            kinds.append(("condition", np.dtype("<u4"), h.condition.shape))
        return kinds

    def add(
        self,
        codes: Tensor,
        labels: Tensor,
        latents: Tensor | None = None,
        position: tuple[int, ...] | None = None,
        condition: Tensor | None = None,
        texts: Sequence[str] = (),
    ) -> None:
        """codes int64 (B, *grid, D), labels (B,), latents (B, *grid, C) where the header has latent channels, the
        condition's codes (B, *its shape) where it has a condition, B captions where it has those.

        ``position``: by which whoever continues later finds the batch after this one; without it, not from here.
        """
        if tuple(codes.shape[1:]) != self.header.shape:
            raise TokbenchError(
                f"codes of shape {tuple(codes.shape[1:])} do not go into a cache of {self.header.shape}"
            )
        self.usage.update(codes.cpu())
        given = {"codes": codes, "latents": latents, "condition": condition}
        self._append(self.scratch / LABELS, labels.cpu().numpy().astype("<i8"))
        if self.header.captions:
            assert len(texts) == len(codes)
            lines = "".join(f"{json.dumps(text)}\n" for text in texts)
            self._append(self.scratch / CAPTIONS, np.frombuffer(lines.encode(), np.uint8))
        start = 0
        while start < len(codes):
            if not self.shards or self.shards[-1] == self.shard:
                self.shards.append(0)
            end, number = min(len(codes), start + self.shard - self.shards[-1]), len(self.shards) - 1
            for kind, dtype, _ in self._kinds():
                values = given[kind]
                assert values is not None
                self._append(self._file(kind, number), values[start:end].cpu().numpy().astype(dtype))
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
                why = f"the cache could not be written: {error.strerror}; what is there stays; rerun to continue"
                raise TokbenchError(f"{self.folder}: {why}") from None
            if kind is None:
                self._finish()
            elif self.position is None or issubclass(kind, Exception):  # Ctrl-C is none, and continues later
                shutil.rmtree(self.scratch, ignore_errors=True)
        finally:
            self._lock.close()

    def _finish(self) -> None:
        for name in (LABELS, *([CAPTIONS] if self.header.captions else [])):
            (self.scratch / name).touch()
        (self.scratch / HISTOGRAM).write_bytes(b"".join(map(_packed, self.usage.counts)))
        header = self.header.model_copy(update={"count": sum(self.shards), "shards": tuple(self.shards)})
        (self.scratch / HEADER).write_text(header.model_dump_json(indent=2) + "\n")
        for name in (_BEGUN, _DONE, _LOCK):
            (self.scratch / name).unlink(missing_ok=True)
        os.replace(self.scratch, self.folder)


def _cut(file: Path, size: int) -> None:
    if file.stat().st_size < size:
        raise ValueError(f"{file}: shorter than it was")
    os.truncate(file, size)


def _cut_lines(file: Path, count: int) -> None:
    with file.open("rb+") as lines:
        if not all(lines.readline().endswith(b"\n") for _ in range(count)):
            raise ValueError(f"{file}: shorter than it was")
        lines.truncate(lines.tell())


def _packed(counts: Tensor) -> bytes:
    """One depth of the histogram: every code's count, or of a large vocabulary the codes that occur and theirs."""
    if counts.is_sparse:
        counts = counts.coalesce()
        counts = torch.cat([torch.tensor([counts.values().numel()]), counts.indices()[0], counts.values()])
    return counts.numpy().astype("<i8").tobytes()
