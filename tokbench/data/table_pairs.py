"""Rows of a table with two columns of files: an image, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokbench.data.base import digest
from tokbench.data.crops import View
from tokbench.data.paired import Paired, check_pairs
from tokbench.data.table import Beside, TableImages, encoded_of, holds_bytes, sampled
from tokbench.errors import TokbenchError, did_you_mean


class TablePairs(Paired, TableImages):
    """Images of one column with the maps or images of another."""

    def __init__(self, *table: Any, beside: Beside) -> None:
        super().__init__(*table)
        self.pairs_with, self.column = beside
        self._partners = self.rows.select_columns([self.column]).with_format("arrow")

    def partner(self, position: int) -> tuple[bytes | Path, str]:
        return self._file(position), f"column {self.column!r} of row {position}"

    def _file(self, position: int) -> bytes | Path:
        return encoded_of(self._partners[position][self.column][0].as_py(), self.folders)

    def paired_of(self, positions: Sequence[int]) -> list[int]:
        """Those of the positions whose cell is not empty; the others are skipped and named."""
        import pyarrow
        import pyarrow.compute

        filled: list[bool] = []
        for batch in self._partners.iter(1000):
            cells = batch.column(0).combine_chunks()
            # Of a struct of bytes and a path either may be there; no file is looked at.
            fields = cells.flatten() if pyarrow.types.is_struct(cells.type) else [cells]
            there = [pyarrow.compute.is_valid(field).to_pylist() for field in fields]
            filled += [any(row) for row in zip(*there, strict=True)]
        found = self.paired(positions, [position for position in positions if filled[position]])
        if not found:
            raise TokbenchError(f"{self.source}: no row of its {self.split} split has {self.pairs_with}")
        return found

    def fingerprint_with(self, view: View) -> str:
        """Of the images, and of the files' sizes and times and 64 of what goes with the images."""
        files = [f"{file.name} {(status := file.stat()).st_size} {status.st_mtime_ns}" for file in self.files]
        parts = sampled(self._file, len(self.rows))
        return digest(super().fingerprint_with(view), self.pairs_with, self.column, *files, *parts)


def check_beside(source: str, features: Any, beside: Beside, view: View) -> None:
    """TokbenchError where there is no such column or it holds no files, or for a view that does not take pairs."""
    kind, column = beside
    check_pairs(source, kind, view)
    if column not in features:
        raise TokbenchError(f"{source}: {kind}=: there is no column {column!r}{did_you_mean(column, list(features))}")
    if not holds_bytes(features[column]):
        raise TokbenchError(f"{source}: {kind}=: column {column!r} holds no files of images or maps")
