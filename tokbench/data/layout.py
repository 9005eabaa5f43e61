"""Which images of a folder belong to which split and class, by the names of the sub-folders alone.

Published sets come in a few dozen shapes: ``train2017/``, ``images/val/``, ``train/CLASS/images/``,
``ILSVRC/Data/CLS-LOC/train/CLASS/``, ``CLASS/test/``... What is decided here is pure: the folders that hold images go
in (``a/b/``; ``""`` is the outermost), splits and classes come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokbench.data.tree import EVAL_WORDS, Node, SplitName, is_container, split_name, tree_of
from tokbench.errors import TokbenchError

CHUNK = 1000
"""Images in each numbered folder of FFHQ and of what its tools write."""


class Part(NamedTuple):
    """A folder whose images belong to a split (``images/train2017/``; empty: all), and their class if it has one."""

    path: str
    label: str = ""


def split_parts(folders: Iterable[str], source: str) -> dict[str, list[Part]]:
    """The parts of ``train`` and ``eval``; of ``""`` where one folder is to be divided; nothing where no name tells.

    Raises:
        TokbenchError: COCO's sets of several years, which share images.
    """
    node, at = tree_of(folders), ""
    while True:
        found = _paired(node, at, source)
        if found:
            return found
        name = node.lone
        if name is None:
            return _only_held_out(node, at, source) or _paired_in_each(node, at, source)
        said = split_name(name)
        if said is not None and not said.prefix:
            return {"" if said.is_train else "eval": [Part(f"{at}{name}/")]}
        node, at = node.children[name], f"{at}{name}/"


def _paired(node: Node, at: str, source: str) -> dict[str, list[Part]]:
    """``train`` and a partner among the sub-folders. ``train`` alone among others is a class (a railway's)."""
    named = {name: said for name in node.pictures_in() if (said := split_name(name)) is not None}
    pairs: dict[str, dict[str, SplitName]] = {}
    for name, said in named.items():
        pairs.setdefault(said.prefix, {})[name] = said
    pairs = {
        prefix: names
        for prefix, names in pairs.items()
        if any(said.is_train for said in names.values()) and not all(said.is_train for said in names.values())
    }
    if "" in pairs:
        pairs = {"": pairs[""]}
    elif not all(any(name.lower().startswith(prefix) for prefix in pairs) for name in node.pictures_in()):
        return {}  # cat/, dog/, bullet_train/ and bullet_test/ are four classes
    found: dict[str, list[Part]] = {}
    for prefix, names in pairs.items():
        for split, chosen in _chosen(names, at, source).items():
            found.setdefault(split, []).extend(Part(f"{at}{n}/", prefix if len(pairs) > 1 else "") for n in chosen)
    return found


def _only_held_out(node: Node, at: str, source: str) -> dict[str, list[Part]]:
    """``val`` and ``test`` with nothing beside them."""
    named = {name: split_name(name) for name in node.pictures_in()}
    held_out = {name: said for name, said in named.items() if said is not None and not (said.is_train or said.prefix)}
    if node.files or not held_out or len(held_out) < len(named):
        return {}
    return {"eval": [Part(f"{at}{name}/") for name in _chosen(held_out, at, source)["eval"]]}


def mixed_splits(folders: Iterable[str]) -> str:
    """A folder (``b/``) that holds ``train`` and a partner among what is one split; empty where there is none."""
    waiting = [("", tree_of(folders))]
    while waiting:
        at, node = waiting.pop()
        said = [s for name in node.children if (s := split_name(name)) is not None and not s.prefix]
        if any(s.is_train for s in said) and not all(s.is_train for s in said):
            return at or "./"
        waiting += [(f"{at}{name}/", child) for name, child in node.children.items()]
    return ""


def _chosen(names: dict[str, SplitName], at: str, source: str) -> dict[str, list[str]]:
    """Of folders that name splits: all that train (train_0, train_1 ...), and the first kind of those that do not."""
    train = {name: said for name, said in names.items() if said.is_train}
    word = next(w for w in EVAL_WORDS if any(said.word == w for said in names.values()))
    held_out = {name: said for name, said in names.items() if said.word == word}
    years = {said.year for said in train.values()}
    if years != {""}:
        held_out = {name: said for name, said in held_out.items() if said.year in (years | {""})} or held_out
    if len((years | {said.year for said in held_out.values()}) - {""}) > 1:
        both = ", ".join(f"{at}{name}/" for name in sorted([*train, *held_out]))
        raise TokbenchError(f"{source}: {both} are of several years, which share images: write train=PATH,eval=PATH")
    return {"train": sorted(train), "eval": sorted(held_out)}


def _paired_in_each(node: Node, at: str, source: str) -> dict[str, list[Part]]:
    """``CLASS/train`` and ``CLASS/test`` in every one of several classes."""
    found: dict[str, list[Part]] = {}
    for name in node.pictures_in():
        inside = _paired(node.children[name], f"{at}{name}/", source)
        if not inside:
            return {}
        for split, parts in inside.items():
            found.setdefault(split, []).extend(Part(part.path, name) for part in parts)
    return found


def inner_folders(folders: dict[str, list[str]], parts: dict[str, list[Part]]) -> dict[str, dict[Part, str]]:
    """Where the classes' folders, or the images, of every part of every split lie: ``train/`` -> ``train/images/``.

    What is not below that is not an image of the set but a mask or the like.
    """
    inner = {split: {part: part.path for part in parts[split]} for split in parts}
    while True:
        inner = {s: {part: _inside(at, folders[s]) for part, at in starts.items()} for s, starts in inner.items()}
        unlabelled = [(s, at) for s, starts in inner.items() for part, at in starts.items() if not part.label]
        deeper = _common_folder(tree_of(f[len(at) :] for s, at in unlabelled for f in folders[s] if f.startswith(at)))
        if not deeper:
            return inner
        inner = {split: {part: f"{at}{deeper}" for part, at in starts.items()} for split, starts in inner.items()}


def classes_of_folders(folders: dict[str, list[str]], inner: dict[str, dict[Part, str]]) -> dict[str, dict[str, str]]:
    """Of every split: folder -> class, ``""`` for none: the first folder below ``inner_folders``."""
    classes: dict[str, dict[str, str]] = {}
    for split, starts in inner.items():
        longest_first = sorted(starts.items(), key=lambda start: -len(start[1]))
        classes[split] = {folder: _class(folder, longest_first) for folder in folders[split]}
    return _without_letters(classes)


def are_chunks(classes: Iterable[str], labelled: Iterable[tuple[str, str]]) -> bool:
    """Whether folders numbered like their images (``01000/01234.png``, ``00001/000010234.jpg``) only keep them few.

    ``labelled``: path and class of every image.
    """
    return all(re.fullmatch(r"\d{4,}", name) for name in classes) and all(_chunk(*entry) for entry in labelled)


def _inside(at: str, folders: list[str]) -> str:
    """The folder less containers: ``train/`` -> ``train/images/`` or ``train/train/``."""
    node, outer = tree_of(f[len(at) :] for f in folders if f.startswith(at)), at.rstrip("/").rpartition("/")[2]
    while (name := node.lone) is not None and (is_container(name) or name.lower() == outer.lower()):
        node, at, outer = node.children[name], f"{at}{name}/", name
    return at


def _common_folder(node: Node) -> str:
    """``PetImages/`` where several classes lie in it: a lone class would tell nothing. Empty: none is such a folder."""
    at = ""
    while (name := node.lone) is not None:
        if is_container(name):
            return at
        node, at = node.children[name], f"{at}{name}/"
    return at if not node.files else ""


def _class(folder: str, starts: list[tuple[Part, str]]) -> str:
    part, start = next(entry for entry in starts if folder.startswith(entry[1]))
    return part.label or folder[len(start) :].partition("/")[0]


def _without_letters(classes: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Places: ``a/abbey/``, ``b/bakery/shop/`` are not classes a, b but abbey and bakery/shop."""
    deeper: dict[str, dict[str, str]] = {}
    for split, listed in classes.items():
        deeper[split] = {}
        for folder, label in listed.items():
            rest = f"/{folder}".partition(f"/{label}/")[2].rstrip("/") if label else ""
            if label and not (len(label) == 1 and label.isalpha() and rest.lower().startswith(label.lower())):
                return classes
            deeper[split][folder] = rest
    return deeper


def _chunk(path: str, label: str) -> bool:
    stem = re.fullmatch(r"[A-Za-z]*(\d+)", path.rpartition("/")[2].partition(".")[0])
    if stem is None or not label or len(stem[1]) < len(label):
        return False
    return stem[1].startswith(label) or int(stem[1]) // CHUNK * CHUNK == int(label)
