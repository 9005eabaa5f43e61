"""Where each file of a tar archive lies, read from its headers once: the archive is never unpacked."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tokbench.data.base import digest
from tokbench.data.folder import printable
from tokbench.data.formats import SUFFIXES
from tokbench.data.whole import remember
from tokbench.errors import TokbenchError
from tokbench.weights import cache_dir


@dataclass(frozen=True)
class Member:
    """One picture of a shard: its key, its bytes' place, its label (-1 where there is none)."""

    key: str
    offset: int
    size: int
    label: int


def index_shard(shard: Path, source: str) -> tuple[list[Member], list[tuple[str, str]]]:
    """The pictures of a WebDataset shard in order, and what is wrong with it.

    Files that share a path up to the first dot of their name are one sample: its picture, and its label in ``.cls``.
    A shard that breaks off gives the samples before the break. The result is remembered until the file changes.

    Raises:
        TokbenchError: the file is compressed or no tar archive.
    """
    status = shard.stat()
    key = digest("shard 2", printable(str(shard.resolve())), str(status.st_size), str(status.st_mtime_ns))
    file = cache_dir() / "shards" / f"{key}.json"
    try:
        members, problems = json.loads(file.read_text("utf-8"))
        return [Member(*m) for m in members], [(name, reason) for name, reason in problems]
    except (OSError, ValueError, TypeError):
        found, bad = _read(shard, status.st_size, source)
        remember(file, [[(m.key, m.offset, m.size, m.label) for m in found], bad])
        return found, bad


def read_member(shard: Path, member: Member) -> bytes:
    """The picture's bytes. Fewer than its size where the file was cut since; then it cannot be decoded."""
    with open(shard, "rb") as file:
        return os.pread(file.fileno(), member.size, member.offset)


def _read(shard: Path, length: int, source: str) -> tuple[list[Member], list[tuple[str, str]]]:
    pictures: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    problems: list[tuple[str, str]] = []
    try:
        with open(shard, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                folder, slash, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                key = printable(f"{folder}{slash}{stem}")
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError("unexpected end of data")
                if f".{extension.lower()}" in SUFFIXES:
                    if key in pictures:
                        problems.append((f"{shard.name}/{key}", f"a second picture of one sample, .{extension}"))
                    else:
                        pictures[key] = (member.offset_data, member.size)
                elif extension.lower() == "cls":
                    text = os.pread(raw.fileno(), member.size, member.offset_data).decode("utf-8", "replace").strip()
                    if not text.isdecimal():
                        raise TokbenchError(f"{source}: {shard.name}/{key}.cls holds {text[:40]!r}, not a class number")
                    labels[key] = int(text)
            # tarfile takes a header that is damaged or cut for the end, which is a block of zeros.
            end = os.pread(raw.fileno(), 512, archive.offset)
            if len(end) < 512 or end.strip(b"\0"):
                raise tarfile.ReadError("no end mark" if not end else "a damaged header")
    except tarfile.TarError as error:
        if not pictures and not labels:
            raise TokbenchError(
                f"{source}: {shard} is not a plain tar archive ({error}); compressed shards have to be unpacked first"
            ) from None
        problems.append((shard.name, f"the archive breaks off after {len(pictures)} pictures: {error}"))
    return [Member(key, offset, size, labels.get(key, -1)) for key, (offset, size) in pictures.items()], problems
