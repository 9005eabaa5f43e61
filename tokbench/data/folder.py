"""``folder:PATH``: pictures under a folder; sub-folders are splits and classes where they look like it."""

from __future__ import annotations

import os
from pathlib import Path

from tokbench.data.base import Split, digest
from tokbench.data.crops import View
from tokbench.data.specs import named_parts, part_of
from tokbench.data.whole import WholePictures, hash_split
from tokbench.errors import TokbenchError

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .jp2 .avif".split())
TRAIN_NAMES = ("train", "training")
EVAL_NAMES = ("val", "validation", "valid", "eval", "test")


class FolderImages(WholePictures):
    """Pictures in the order of their relative paths; the first sub-folder of the path is the class."""

    def __init__(
        self, source: str, split: Split, view: View, root: Path, files: list[_File], classes: list[str]
    ) -> None:
        super().__init__(source, split, view)
        self.root, self.files = root, files
        self.classes = [printable(name) for name in classes]
        self._labels = {name: k for k, name in enumerate(classes)}

    def name(self, position: int) -> str:
        return printable(self.files[position].path)

    def label(self, position: int) -> int:
        return self._labels.get(_class_of(self.files[position].path), -1)

    def encoded(self, position: int) -> Path:
        return self.root / self.files[position].path

    @property
    def content(self) -> str:
        """Relative paths and sizes: what can be known of a large folder without reading it."""
        return digest(*(f"{printable(f.path)} {f.size}" for f in self.files))

    @property
    def store(self) -> str:
        root = printable(str(self.root.resolve()))
        return digest(root, *(f"{printable(f.path)} {f.size} {f.modified}" for f in self.files))


class _File:
    __slots__ = ("modified", "path", "size")

    def __init__(self, path: str, size: int, modified: int) -> None:
        self.path, self.size, self.modified = path, size, modified


def open_folder(source: str, rest: str, split: Split, view: View, limit: int | None) -> FolderImages:
    """``PATH``, or ``train=PATH,eval=PATH``.

    Without names, sub-folders ``train`` and ``val`` (or ``validation``, ``valid``, ``eval``, ``test``: the first there
    is) are the splits; without those, one picture in ten is held out. Class names are those of both splits together.

    Raises:
        TokbenchError: no such folder, no pictures in it, or none that can be read.
    """
    parts = named_parts(rest, source)
    roots = _split_folders(_folder(parts[""], source)) if "" in parts else {}
    if "" not in parts:
        part_of(parts, split, source)
        roots = {name: _folder(path, source) for name, path in parts.items()}
    if not roots:
        roots = {"": _folder(parts[""], source)}
    listings = {name: _list(root) for name, root in roots.items()}
    chosen = split if split in roots else ""
    if chosen not in roots:
        raise TokbenchError(f"{source}: there is no {split} sub-folder beside {next(iter(roots.values())).name}/")
    files, problems = listings[chosen]
    if not files:
        raise TokbenchError(
            f"{source}: no pictures in {roots[chosen]}"
            + (f" ({problems[0][1]})" if problems else "")
            + "; looked for .jpg, .png, .webp and other picture files, in sub-folders too"
        )
    classes = sorted({_class_of(f.path) for listed, _ in listings.values() for f in listed} - {""})
    images = FolderImages(source, split, view, roots[chosen], files, classes)
    images.skipped.extend(problems)
    positions = hash_split([f.path for f in files], split, source) if chosen == "" else range(len(files))
    images.select(positions, limit)
    return images


def printable(path: str) -> str:
    """A file name that is no valid UTF-8 can still be opened; this is how it is written down."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _folder(path: str, source: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise TokbenchError(f"{source}: there is no folder {folder}")
    if not folder.is_dir():
        raise TokbenchError(f"{source}: {folder} is a file, not a folder")
    return folder


def _split_folders(root: Path) -> dict[str, Path]:
    """The sub-folders that are splits. ``train`` without a partner, among other folders, is a class (a railway's)."""
    try:
        names = {entry.name.lower(): Path(entry.path) for entry in os.scandir(root) if entry.is_dir()}
    except OSError as error:
        raise TokbenchError(f"{root}: cannot be listed: {error.strerror}") from None
    train = next((names[name] for name in TRAIN_NAMES if name in names), None)
    held_out = next((names[name] for name in EVAL_NAMES if name in names), None)
    if train and held_out:
        return {"train": train, "eval": held_out}
    if len(names) == 1 and train:
        return {"": train}
    if len(names) == 1 and held_out:
        return {"eval": held_out}
    return {}


def _list(root: Path) -> tuple[list[_File], list[tuple[str, str]]]:
    """Every picture file beneath, sorted by path, and what could not be listed. Links to folders are followed once."""
    files: list[_File] = []
    problems: list[tuple[str, str]] = []
    seen: set[str] = set()

    def walk(folder: str, prefix: str) -> None:
        real = os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problems.append((printable(prefix or folder), f"cannot be listed: {error.strerror}"))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{prefix}{entry.name}"
            if entry.is_dir():
                walk(entry.path, f"{path}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                try:
                    status = entry.stat()
                except OSError as error:  # a link that leads nowhere
                    problems.append((printable(path), error.strerror or "cannot be opened"))
                    continue
                if status.st_size == 0:
                    problems.append((printable(path), "the file is empty"))
                else:
                    files.append(_File(path, status.st_size, status.st_mtime_ns))

    walk(str(root), "")
    return sorted(files, key=lambda file: file.path), problems


def _class_of(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash else ""
