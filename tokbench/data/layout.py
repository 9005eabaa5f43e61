"""Which pictures of a folder belong to which split and class, by the names of the sub-folders alone.

Published sets come in a few dozen shapes: ``train2017/``, ``images/val/``, ``train/CLASS/images/``,
``ILSVRC/Data/CLS-LOC/train/CLASS/``, ``CLASS/test/``... What is decided here is pure: paths in, splits and classes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokbench.data.tree import EVAL_WORDS, Node, SplitName, is_container, split_name, tree_of
from tokbench.errors import TokbenchError

CHUNK = 1000
"""Pictures in each numbered folder of FFHQ and of what its tools write."""


class Part(NamedTuple):
    """A folder whose pictures belong to a split (``images/train2017/``; empty: all), and their class if it has one."""

    path: str
    label: str = ""


def split_parts(paths: Iterable[str], source: str) -> dict[str, list[Part]]:
    """The parts of ``train`` and ``eval``; of ``""`` where one folder is to be divided; nothing where no name tells.

    Raises:
        TokbenchError: COCO's sets of several years, which share pictures.
    """
    node, at = tree_of(paths), ""
    while True:
        found = _paired(node, at, source)
        if found:
            return found
        name = node.lone
        if name is None:
            return _paired_in_each(node, at, source)
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
        raise TokbenchError(f"{source}: {both} are of several years, which share pictures: write train=PATH,eval=PATH")
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


def inner_folders(paths: dict[str, list[str]], parts: dict[str, list[Part]]) -> dict[str, dict[Part, str]]:
    """Where the classes' folders, or the pictures, of every part lie: ``train/`` -> ``train/images/``.

    What is not below that is no picture of the set but a mask or the like. ``paths``: those of each split.
    """
    inner = {split: {part: part.path for part in parts[split]} for split in parts}
    while True:
        inner = {s: {part: _inside(at, paths[s]) for part, at in starts.items()} for s, starts in inner.items()}
        deeper = _common_folder(
            Node(files=1) if part.label else _node(at, paths[split])
            for split, starts in inner.items()
            for part, at in starts.items()
        )
        if not deeper:
            return inner
        inner = {split: {part: f"{at}{deeper}" for part, at in starts.items()} for split, starts in inner.items()}


def classes_by_folder(paths: dict[str, list[str]], inner: dict[str, dict[Part, str]]) -> dict[str, list[str]]:
    """The class of every path of every split, ``""`` where it has none: the first folder below ``inner_folders``."""
    classes: dict[str, list[str]] = {}
    for split, starts in inner.items():
        longest_first = sorted(starts.items(), key=lambda start: -len(start[1]))
        classes[split] = [_class(path, longest_first) for path in paths[split]]
    return _without_chunks(paths, _without_letters(paths, classes))


def _node(start: str, paths: list[str]) -> Node:
    return tree_of(path[len(start) :] for path in paths if path.startswith(start))


def _inside(at: str, paths: list[str]) -> str:
    """The folder less containers: ``train/`` -> ``train/images/`` or ``train/train/``."""
    node, outer = _node(at, paths), at.rstrip("/").rpartition("/")[2]
    while (name := node.lone) is not None and (is_container(name) or name.lower() == outer.lower()):
        node, at, outer = node.children[name], f"{at}{name}/", name
    return at


def _common_folder(nodes: Iterable[Node]) -> str:
    """``PetImages/`` where nothing but the classes' folders lies in it: a lone class would tell nothing."""
    present = [node for node in nodes if node.files or node.children]
    names = {node.lone for node in present}
    name = next(iter(names)) if len(names) == 1 else None
    if name is None or any(node.children[name].files for node in present):
        return ""
    inside = {child for node in present for child in node.children[name].children}
    return f"{name}/" if len(inside) > 1 else ""


def _class(path: str, starts: list[tuple[Part, str]]) -> str:
    part, start = next(entry for entry in starts if path.startswith(entry[1]))
    first, slash, _ = path[len(start) :].partition("/")
    return part.label or (first if slash else "")


def _without_letters(paths: dict[str, list[str]], classes: dict[str, list[str]]) -> dict[str, list[str]]:
    """Places: ``a/abbey/``, ``b/bakery/shop/`` are no classes a, b but abbey and bakery/shop."""
    deeper: dict[str, list[str]] = {}
    for split, listed in paths.items():
        deeper[split] = []
        for path, label in zip(listed, classes[split], strict=True):
            rest = f"/{path}".rpartition("/")[0].partition(f"/{label}/")[2] if len(label) == 1 else ""
            if label and not (label.isalpha() and rest.lower().startswith(label.lower())):
                return classes
            deeper[split].append(rest)
    return deeper


def _without_chunks(paths: dict[str, list[str]], classes: dict[str, list[str]]) -> dict[str, list[str]]:
    """``01000/01234.png`` and ``00001/000010234.jpg``: folders numbered like their pictures only keep folders small."""
    for split, listed in paths.items():
        for path, label in zip(listed, classes[split], strict=True):
            stem = re.fullmatch(r"[A-Za-z]*(\d+)", path.rpartition("/")[2].partition(".")[0])
            numbered = stem is not None and re.fullmatch(r"\d{4,}", label) and len(stem[1]) >= len(label)
            if not (numbered and stem and (stem[1].startswith(label) or _block(stem[1]) == int(label))):
                return classes
    return {split: [""] * len(listed) for split, listed in paths.items()}


def _block(digits: str) -> int:
    return int(digits) // CHUNK * CHUNK
