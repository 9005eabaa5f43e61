"""Where each file of a tar archive lies, read from its headers once: the archive is never unpacked."""

from __future__ import annotations

import json
import os
import posixpath
import re
import tarfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from tokbench.data.base import digest
from tokbench.data.captions import LARGEST, SUFFIXES, caption_file
from tokbench.data.folder import as_utf8
from tokbench.data.formats import tally
from tokbench.data.labels import numbering
from tokbench.data.listing import ignored
from tokbench.data.media import IMAGES, Media
from tokbench.data.whole import remember, stamp
from tokbench.errors import TokbenchError, shown
from tokbench.weights import cache_dir

NO_LABEL = "-1"
_LONGEST_LABEL = 200  # bytes of a class's name


@dataclass(frozen=True)
class Member:
    """One image of a shard: key, place of its bytes, label as text (``-1`` or blank: none), whether it is a link, and
    where its caption lies: the ending of that file and the place of its bytes."""

    key: str
    offset: int
    size: int
    label: str
    link: bool = False
    caption: tuple[str, int, int] | None = None


def index_shard(shard: Path, source: str, media: Media = IMAGES) -> tuple[list[Member], list[tuple[str, str]]]:
    """The images (or videos) of a WebDataset shard in order, and what is wrong with it.

    Files that share a path up to the first dot of their name are one sample: its image, its label in ``.cls`` and its
    caption in ``.txt`` or ``.json``.
    Where none of them ends in ``.jpg`` or the like right after that dot, a sample's only image is taken
    (``0001.rgb.jpg``). Links are followed within the shard. A shard that breaks off gives the samples before the
    break. The result is remembered until the file changes.

    Raises:
        TokbenchError: the file is compressed or not a tar archive, or a label is neither a number nor a name.
    """
    status = shard.stat()
    key = digest(media.shards, as_utf8(str(shard.resolve())), stamp(status))
    file = cache_dir() / "shards" / f"{key}.json"
    try:
        members, problems = json.loads(file.read_text("utf-8"))
        return [Member(*m) for m in members], [(name, reason) for name, reason in problems]
    except (OSError, ValueError, TypeError):
        found, bad = _read(shard, status.st_size, source, media)
        remember(file, [[astuple(m) for m in found], bad])
        return found, bad


def contents(shards: Sequence[Path], members: Sequence[Sequence[Member]]) -> str:
    """A hash of what an index and the file system say of shards: their times, and the images' keys, sizes, labels."""
    times = (f"{shard.name} {shard.stat().st_mtime_ns}" for shard in shards)
    return digest(*times, *(f"{m.key} {m.size} {m.label}" for found in members for m in found))


def read_member(shard: Path, member: Member) -> bytes:
    """The image's bytes. Fewer than its size where the file was cut since; then it cannot be decoded."""
    with open(shard, "rb") as file:
        return os.pread(file.fileno(), member.size, member.offset)


def read_caption(shard: Path, member: Member) -> str:
    """The image's caption, "" where it has none. Raises UnreadableImage where it cannot be read."""
    if member.caption is None:
        return ""
    suffix, offset, size = member.caption
    with open(shard, "rb") as file:
        content = os.pread(file.fileno(), min(size, LARGEST + 1), offset)
    return caption_file(content, f"{member.key}{suffix}", f"{shard.name}/{member.key}")


def is_number(label: str) -> bool:
    """Whether a shard's label is a class's number and no name or blank; -1 (none) is one."""
    return label.removeprefix("-").isdecimal()


def numbered(texts: set[str], source: str) -> tuple[dict[str, int], list[str], str]:
    """Labels of shards -> (number of each, names of the classes, why there are none).

    Raises:
        TokbenchError: some labels are numbers and some are names.
    """
    labels = texts - {NO_LABEL, ""}
    names = sorted(label for label in labels if not is_number(label))
    if names and len(names) < len(labels):
        number = min(label for label in labels if is_number(label))
        raise TokbenchError(f"{source}: a .cls file holds {names[0]!r}, another {number}: write numbers or names alone")
    values: dict[str, object] = {label: label if names else int(label) for label in labels}
    found = numbering(values.values(), "the shards' .cls")
    return {NO_LABEL: -1, "": -1} | {label: found(value) for label, value in values.items()}, found.classes, found.note


def no_pictures(
    source: str, shards: list[Path], problems: list[tuple[str, str]], media: Media = IMAGES
) -> TokbenchError:
    """What to say of shards without images."""
    why = f" ({tally(problems)})" if problems else ""
    return TokbenchError(f"{source}: no {media.many} in its {len(shards)} shard{'s' if len(shards) != 1 else ''}{why}")


@dataclass
class _Contents:
    """What was found so far: ``parts`` of each sample (extension -> name of the file), files by name, links by name."""

    media: Media
    parts: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    captions: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def _read(shard: Path, length: int, source: str, media: Media) -> tuple[list[Member], list[tuple[str, str]]]:
    found = _Contents(media)
    cut = None
    try:
        with open(shard, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                if member.isfile() and member.offset_data + member.size > length:
                    raise tarfile.ReadError("unexpected end of data")
                _sort_out(member, raw.fileno(), f"{source}: {shard.name}", found)
            # tarfile takes a header that is damaged or cut for the end, which is a block of zeros.
            end = os.pread(raw.fileno(), 512, archive.offset)
            if len(end) < 512 or end.strip(b"\0"):
                raise tarfile.ReadError("no end mark" if not end else "a damaged header")
    except tarfile.TarError as error:
        if not found.files:
            raise TokbenchError(
                f"{source}: {shard} is not a plain tar archive ({error}); compressed shards have to be unpacked first"
            ) from None
        cut = str(error)
    members = _members(found)
    if cut is not None:
        found.problems.append(("", f"the archive breaks off after {len(members)} {media.many}: {cut}"))
    if not members and not found.problems and found.others:
        found.problems.append(("", f"holds {', '.join(found.others)}, but no {media.many}"))
    return members, [(f"{shard.name}/{as_utf8(name)}".rstrip("/"), reason) for name, reason in found.problems]


def _sort_out(member: tarfile.TarInfo, handle: int, where: str, found: _Contents) -> None:
    """Put one entry of the archive where it belongs."""
    name = member.name
    stem, dot, extension = name.rpartition("/")[2].partition(".")
    folders = set(name.split("/")) - {".", ".."}
    if not (member.isfile() or member.islnk() or member.issym()) or any(map(ignored, folders)):
        return
    if member.isfile():
        found.files[name] = member.offset_data, member.size
    else:
        above = posixpath.dirname(name) if member.issym() else ""
        found.links[name] = posixpath.normpath(posixpath.join(above, member.linkname))
    key, extension = name[: len(name) - len(dot + extension)], extension.lower()
    suffix = f".{extension.rpartition('.')[2]}"
    if suffix in found.media.suffixes or found.media.passed_over(suffix) is not None:
        others = found.parts.setdefault(key, {})
        if extension in others:
            found.problems.append((name, "a second file of this name"))
        else:
            others[extension] = name
    elif extension == "cls" and member.isfile():
        found.labels[key] = _label(os.pread(handle, min(member.size, 10_000), member.offset_data), f"{where}/{name}")
    else:
        if f".{extension}" in SUFFIXES and member.isfile() and found.captions.get(key, ("",))[0] != SUFFIXES[0]:
            found.captions[key] = f".{extension}", *found.files[name]
        found.others += [as_utf8(name)] * (len(found.others) < 3)


def _label(content: bytes, where: str) -> str:
    """A ``.cls`` file -> its number or its name, as text. Raises TokbenchError for what is neither."""
    text = content.decode("utf-8", "replace").strip()
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return str(max(int(text), -1))
    if text.isdecimal() or not text.isprintable() or len(text) > _LONGEST_LABEL:
        raise TokbenchError(f"{where} holds {shown(text[:60], 40)}, not a class")
    return text


def _members(found: _Contents) -> list[Member]:
    """The image of every sample; why there is none goes to ``problems``."""
    members, passed_over = [], found.media.passed_over
    for key, parts in found.parts.items():
        read = {ext: name for ext, name in parts.items() if passed_over(f".{ext.rpartition('.')[2]}") is None}
        found.problems += [
            (name, str(passed_over(f".{ext.rpartition('.')[2]}"))) for ext, name in parts.items() if ext not in read
        ]
        plain = [ext for ext in read if "." not in ext]
        if not plain and len(read) > 1:
            sample = f"of sample {as_utf8(key)!r}, whose name by WebDataset's rule ends at the first dot"
            why = f"one of several {found.media.many} {sample}: rename them"
            found.problems += [(name, why) for name in read.values()]
            continue
        for ext in plain[1:]:
            found.problems.append((read[ext], f"a second {found.media.one} of one sample, .{ext}"))
        for name in [read[ext] for ext in (plain or list(read))[:1]]:
            place = found.files.get(_followed(name, found.links))
            if place is None:
                found.problems.append((name, f"a link to {as_utf8(found.links[name])}, which is not in the shard"))
            else:
                label = found.labels.get(key, NO_LABEL)
                members.append(Member(as_utf8(key), *place, label, name not in found.files, found.captions.get(key)))
    return members


def _followed(name: str, links: dict[str, str]) -> str:
    for _ in range(len(links)):
        if name not in links:
            break
        name = links[name]
    return name
