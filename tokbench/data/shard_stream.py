"""``webdataset:FILES:streaming``: shards read from front to back, at hand or far away."""

from __future__ import annotations

from pathlib import Path

from tokbench.data.base import Split
from tokbench.data.crops import View
from tokbench.data.media import Media
from tokbench.data.specs import by_name, expand, named_parts, part_of
from tokbench.data.stream import StreamedImages, streamed_evaluation
from tokbench.data.table import TableImages, columns_of, quiet, undecoded
from tokbench.data.tarindex import contents, index_shard, is_number, no_pictures, numbered
from tokbench.errors import TokbenchError


def open_streamed_shards(
    source: str, rest: str, split: Split, view: View, limit: int | None
) -> StreamedImages | TableImages:
    """``webdataset:FILES:streaming``; FILES may be addresses (https://..., hf://...).

    Raises:
        TokbenchError: no such shard, no images, or no way to tell the evaluation shards from the others.
    """
    import datasets

    parts = named_parts(rest, source)
    pattern = parts[""] if "" in parts else part_of(parts, split, source)
    if "://" in pattern:
        files, divide = pattern.split(","), "" in parts
    else:
        paths = expand(pattern, source)
        groups = by_name(paths) if "" in parts else {}
        files, divide = [str(path) for path in (groups[split] if groups else paths)], "" in parts and not groups
    if divide:
        raise TokbenchError(f"{source}: a stream cannot be divided; write webdataset:train=...,eval=...:streaming")
    # Shards at hand are read by their headers (remembered), which also finds a broken one now and not in a week.
    indexed = (None, None, [], "") if "://" in pattern else _indexed(source, files, view.media)
    length, classes, problems, content = indexed
    try:
        with quiet():
            rows = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if "invalid literal for int()" in reason:
            reason = f"a .cls file holds{reason.rpartition(':')[2]}, and a stream takes class numbers only"
        raise TokbenchError(f"{source}: the shards cannot be read: {reason}") from None
    image, label = columns_of(rows.features, source, view.media)
    rows = undecoded(rows, image)
    if split == "eval":
        held = streamed_evaluation(source, view, rows, image, label, limit, length, classes)
        held.skipped.extend(problems)
        return held
    stream = StreamedImages(source, view, rows, image, label, limit, length, classes, content)
    stream.skipped.extend(problems)
    return stream


def _indexed(source: str, files: list[str], media: Media) -> tuple[int, list[str], list[tuple[str, str]], str]:
    """(number of images, class names, what is not read, hash) of shards at hand, as a stream reads them."""
    count, labels, indices = 0, set(), []
    problems: list[tuple[str, str]] = []
    for shard in map(Path, files):
        members, found = index_shard(shard, source, media)
        problems += found
        indices.append(members)
        for member in members:
            labels.add(member.label)
            if not is_number(member.label):
                raise TokbenchError(
                    f"{source}: {shard.name}/{member.key}.cls holds {member.label!r}, and a stream takes class numbers "
                    "only: leave :streaming out"
                )
            if member.link:
                problems.append((f"{shard.name}/{member.key}", "a link, which a stream does not follow"))
            count += not member.link
    if not count:
        raise no_pictures(source, [Path(file) for file in files], problems, media)
    return count, numbered(labels, source)[1], problems, contents([Path(file) for file in files], indices)
