"""Images in sub-folders, of a folder or of an archive: those of one split, with their classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from tokbench.data.annotations import STYLEGAN, UCF101, classes_by_name, listed_videos, numbers_by_path
from tokbench.data.base import Split
from tokbench.data.formats import suffix_of, tally
from tokbench.data.labels import in_order, numbering
from tokbench.data.layout import Part, are_chunks, classes_of_folders, inner_folders, mixed_splits, split_parts
from tokbench.data.listing import File, Listing
from tokbench.data.whole import hash_split
from tokbench.errors import TokbenchError, counted


@dataclass
class Arranged:
    """A split: ``files`` by their paths below ``base``, ``labels`` of each (-1: none), ``positions`` to be taken.

    ``problems`` are (path, reason) of what is not used, ``notes`` lines on the whole.
    """

    base: str
    files: list[File]
    labels: list[int]
    classes: list[str]
    positions: list[int]
    problems: list[tuple[str, str]]
    notes: list[str]


def arranged(listings: dict[str, Listing], split: Split, source: str, read: Callable[[str, str], str]) -> Arranged:
    """The images of ``split``.

    Args:
        listings: ``{"": everything}``, whose sub-folders are splits where they are called so, or one of each split.
        read: (key of ``listings``, path) -> the text of that file.

    Raises:
        TokbenchError: no images, or none of that split.
    """
    parts = {key: [Part("")] for key in listings}
    lists = _lists(listings, read)
    if lists:
        parts = {name: [Part("")] for name in lists}
    elif "" in listings:
        parts = split_parts(_folders(listings[""].files), source) or parts
    chosen = split if split in parts else ""
    if chosen not in parts:
        beside = next(iter(parts.values()))[0].path
        raise TokbenchError(f"{source}: there is no {split} sub-folder beside {beside}")
    files, problems = {}, {}
    for key in parts:
        found = listings[key if key in listings else ""]
        files[key], problems[key] = found.within(tuple(part.path for part in parts[key]))
    notes = _by_list(files, lists, source) + _leave_masks(files, parts) + _shared(files)
    mixed = mixed_splits(_folders(files[chosen]))
    notes += [f"{mixed} holds splits, whose images are all taken here: write train=PATH,eval=PATH"] if mixed else []
    media = next(iter(listings.values())).media
    not_read = [(path, reason) for path, reason in problems[chosen] if media.passed_over(suffix_of(path))]
    notes += [f"image files that are not read: {len(not_read)} ({tally(not_read)})"] if not_read else []
    if not files[chosen]:
        raise _nothing(listings, source, tally(problems[chosen]))
    texts = {at: {path: read(at, path) for path in listing.annotations} for at, listing in listings.items()}
    labels, classes, note = _numbered(files, parts, chosen, texts, source)
    above = os.path.commonprefix([part.path for part in parts[chosen]]).rpartition("/")[0]
    base = f"{above}/" if above else ""
    mine = [File(f.path[len(base) :], f.size, f.modified, f.inode, f.changed) for f in files[chosen]]
    return Arranged(
        base=base,
        files=mine,
        labels=labels,
        classes=classes,
        positions=list(range(len(mine))) if chosen else hash_split([file.path for file in mine], split, source),
        problems=[(path.removeprefix(base), reason) for path, reason in problems[chosen]],
        notes=notes + [note] * bool(note),
    )


def _lists(listings: dict[str, Listing], read: Callable[[str, str], str]) -> dict[str, set[str]]:
    """The videos of each split, as ``Class/file.avi``, where UCF-101's two lists lie beside them; else nothing."""
    found = listings[""].lists if "" in listings else {}
    return {split: listed_videos(read("", path)) for split, path in found.items()} if len(found) == 2 else {}


def _by_list(files: dict[str, list[File]], lists: dict[str, set[str]], source: str) -> list[str]:
    """Keep of each split what its list names; lines on videos that are in no list, and on those that are not there.

    Raises:
        TokbenchError: a list names none of the videos.
    """
    if not lists:
        return []
    every = {"/".join(file.path.split("/")[-2:]): file for listed in files.values() for file in listed}
    for split, names in lists.items():
        files[split] = [file for name, file in every.items() if name in names]
        if every and not files[split]:
            which = next(file for file, of in UCF101.items() if of == split)
            such = f", such as {min(names)}" if names else ""
            raise TokbenchError(f"{source}: {which} names none of the videos there{such}: fix or remove it")
    named = set().union(*lists.values())
    notes = {
        "videos in neither trainlist01.txt nor testlist01.txt": [name for name in every if name not in named],
        "videos that trainlist01.txt or testlist01.txt names and that are not there": sorted(named - every.keys()),
    }
    return [f"{said}: {len(names)}, such as {names[0]}" for said, names in notes.items() if names]


def _nothing(listings: dict[str, Listing], source: str, reasons: str) -> TokbenchError:
    """What to say of a folder without a single file of the kind that is looked for."""
    media = next(iter(listings.values())).media
    others = [path for listing in listings.values() for path in listing.others]
    why = f" ({reasons})" if reasons else ""
    if others:
        beside = f"it holds {counted(len(others), media.other.one)}, such as {others[0]}"
        wanted = f"set data.image_size to {media.other.size}"
        return TokbenchError(f"{source}: no {media.many} in it{why}; {beside}: {wanted}")
    return TokbenchError(f"{source}: no {media.many} in it{why}; looked for {media.usual}, in sub-folders too")


def _numbered(
    files: dict[str, list[File]],
    parts: dict[str, list[Part]],
    chosen: str,
    texts: dict[str, dict[str, str]],
    source: str,
) -> tuple[list[int], list[str], str]:
    """(labels of the chosen split, names of the classes of all, why there are none)."""
    where = {key: key if key in texts else "" for key in files}
    numbers = {at: numbers_by_path(of[STYLEGAN], f"{source}: {STYLEGAN}") for at, of in texts.items() if STYLEGAN in of}
    if any(numbers.values()):
        found = numbering((number for of in numbers.values() for number in of.values()), STYLEGAN)
        mine = numbers.get(where[chosen], {})
        return [found(mine.get(file.path)) for file in files[chosen]], found.classes, found.note
    names = _classes(files, parts)
    for key, listed in files.items():
        for path, text in texts[where[key]].items():
            above, said = path.rpartition("/")[0], classes_by_name(text) if path != STYLEGAN else {}
            for k, file in enumerate(listed):
                if said and file.path.startswith(f"{above}/" if above else ""):
                    names[key][k] = said.get(file.path.rpartition("/")[2], names[key][k])
    classes = in_order({name for listed in names.values() for name in listed if name})
    number = {name: k for k, name in enumerate(classes)}
    return [number.get(name, -1) for name in names[chosen]], classes, ""


def _folders(files: list[File]) -> list[str]:
    return list(dict.fromkeys(_folder(file) for file in files))


def _folder(file: File) -> str:
    """``a/b.png`` -> ``a/``."""
    return file.path[: file.path.rfind("/") + 1]


def _leave_masks(files: dict[str, list[File]], parts: dict[str, list[Part]]) -> list[str]:
    """Drop the images that lie beside the folders of images; a line that says how many and where."""
    notes = []
    for key, inner in inner_folders({key: _folders(listed) for key, listed in files.items()}, parts).items():
        inside = tuple(inner.values())
        left = [file.path for file in files[key] if not file.path.startswith(inside)]
        if left:
            notes.append(f"images left out that lie beside {inside[0]}: {len(left)}, such as {left[0]}")
            files[key] = [file for file in files[key] if file.path.startswith(inside)]
    return notes


def _classes(files: dict[str, list[File]], parts: dict[str, list[Part]]) -> dict[str, list[str]]:
    """The class of every image of every split, ``""`` where it has none."""
    folders = {key: _folders(listed) for key, listed in files.items()}
    known = classes_of_folders(folders, inner_folders(folders, parts))
    names = {key: [known[key][_folder(file)] for file in listed] for key, listed in files.items()}
    seen = {name for listed in known.values() for name in listed.values()}
    labelled = ((file.path, name) for key in files for file, name in zip(files[key], names[key], strict=True))
    return {key: [""] * len(files[key]) for key in files} if are_chunks(seen, labelled) else names


def _shared(files: dict[str, list[File]]) -> list[str]:
    """A line where the very same files are in both splits: one folder given twice, or links."""
    inodes = [{file.inode for file in listed} - {(0, 0)} for listed in files.values()]
    both = len(set.intersection(*inodes)) if len(inodes) > 1 else 0
    return [f"images in both splits: {both} (what is trained on is measured)"] if both else []
