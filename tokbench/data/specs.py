"""The part of a spec string after its kind: which files, and which split each belongs to."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from tokbench.data.base import Split
from tokbench.errors import TokbenchError

_NAMED = re.compile(r"(?:^|,)(train|eval)=")
_IN_NAME: dict[Split, re.Pattern[str]] = {
    "train": re.compile(r"(?:^|[^a-z])train(?:ing)?(?:[^a-z]|$)"),
    "eval": re.compile(r"(?:^|[^a-z])(?:val|valid|validation|eval|test)(?:[^a-z]|$)"),
}


def named_parts(rest: str, source: str) -> dict[str, str]:
    """``train=a,eval=b`` -> {"train": "a", "eval": "b"}; ``a`` -> {"": "a"}. Raises TokbenchError for nonsense."""
    if not rest:
        raise TokbenchError(f"{source!r} names no files: write {source.rstrip(':')}:PATH")
    if not _NAMED.match(rest):
        return {"": rest}
    found = list(_NAMED.finditer(rest))
    ends = [match.start() for match in found[1:]] + [len(rest)]
    parts = {}
    for match, end in zip(found, ends, strict=True):
        split, value = match.group(1), rest[match.end() : end]
        if split in parts or not value:
            raise TokbenchError(f"{source!r}: {split}= {'is given twice' if split in parts else 'names nothing'}")
        parts[split] = value
    return parts


def part_of(parts: dict[str, str], split: Split, source: str) -> str:
    """The named part of a split. Raises TokbenchError where the spec names only the other one."""
    if split not in parts:
        raise TokbenchError(f"{source!r} names no {split} images: add {split}=PATH")
    return parts[split]


def expand(patterns: str, source: str) -> list[Path]:
    """Comma-separated paths and globs -> files, sorted. A pattern that matches nothing is a TokbenchError."""
    if Path(patterns).expanduser().is_file():
        return [Path(patterns).expanduser()]
    files: set[Path] = set()
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        matched = [Path(p) for p in glob.glob(os.path.expanduser(pattern), recursive=True) if os.path.isfile(p)]
        if not matched:
            raise TokbenchError(f"{source}: no file matches {pattern!r}")
        files.update(matched)
    return sorted(files)


def by_name(files: list[Path]) -> dict[Split, list[Path]]:
    """Files of each split where their names tell all of them apart (train-000.tar, val-000.tar); else empty."""
    groups: dict[Split, list[Path]] = {
        split: [file for file in files if pattern.search(file.name.lower())] for split, pattern in _IN_NAME.items()
    }
    train, held_out = groups["train"], groups["eval"]
    return groups if train and held_out and sorted([*train, *held_out]) == files else {}


def split_files(rest: str, split: Split, source: str) -> tuple[list[Path], bool]:
    """(files of the split, whether the images in them have yet to be divided by hash)."""
    parts = named_parts(rest, source)
    if "" not in parts:
        return expand(part_of(parts, split, source), source), False
    files = expand(parts[""], source)
    groups = by_name(files)
    return (groups[split], False) if groups else (files, True)


def other_files(rest: str, split: Split, source: str) -> list[Path]:
    """Files of the other split, where the spec or their names tell them apart."""
    parts = named_parts(rest, source)
    other: Split = "eval" if split == "train" else "train"
    if "" not in parts:
        return expand(parts[other], source) if other in parts else []
    return by_name(expand(parts[""], source)).get(other, [])
