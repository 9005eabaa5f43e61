"""``folder:PATH``: images under a folder; sub-folders are splits and classes where they look like it."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path

from tokbench.config.condition import Partner, partner_of
from tokbench.data.arranged import Arranged, arranged
from tokbench.data.base import Split, digest
from tokbench.data.captions import LARGEST, SUFFIXES, caption_file
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.listing import list_folder
from tokbench.data.paired import Paired, check_pairs
from tokbench.data.partner import PARTNERS
from tokbench.data.registry import register
from tokbench.data.specs import named_parts, part_of
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError


class FolderImages(WholePictures):
    """Images in the order of their relative paths; classes by the names of the sub-folders."""

    def __init__(self, source: str, split: Split, view: View, root: Path, found: Arranged) -> None:
        super().__init__(source, split, view)
        self.root, self.files, self.labels = root / found.base, found.files, found.labels
        self.classes = [as_utf8(name) for name in found.classes]
        self.skipped = [(as_utf8(path), reason) for path, reason in found.problems]
        self.notes = found.notes

    def name(self, position: int) -> str:
        return as_utf8(self.files[position].path)

    def label(self, position: int) -> int:
        return self.labels[position]

    def encoded(self, position: int) -> Path:
        return self.root / self.files[position].path

    def caption(self, position: int) -> str:
        image, name = self.encoded(position), self.name(position)
        for file in map(image.with_suffix, SUFFIXES):
            try:
                with file.open("rb") as content:
                    return caption_file(content.read(LARGEST + 1), file.name, name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UnreadableImage(name, f"its caption {file.name}: {error.strerror}") from None
        return ""

    @property
    def content(self) -> str:
        """Relative paths, sizes, times and labels: what can be known of a large folder without reading it."""
        rows = zip(self.files, self.labels, strict=True)
        return digest(*(f"{as_utf8(f.path)} {f.size} {f.modified} {label}" for f, label in rows))

    @property
    def store(self) -> str:
        root = as_utf8(str(self.root.resolve()))
        return digest(root, *(f"{as_utf8(f.path)} {f.size} {f.modified} {f.changed}" for f in self.files))


class Pairs(Paired, FolderImages):
    """Images with a file each that goes with them."""

    def __init__(self, source: str, split: Split, view: View, root: Path, found: Arranged, kind: Partner, beside: Path):
        super().__init__(source, split, view, root, found)
        self.pairs_with, self.beside, self.base = kind, beside, Path(found.base)
        files = [path for path in sorted(beside.rglob("*")) if path.suffix.lower() in PARTNERS and path.is_file()]
        self.partners = {path.relative_to(beside).with_suffix("").as_posix(): path for path in files}
        if len(self.partners) < len(files):
            names = [path.relative_to(beside).with_suffix("").as_posix() for path in files]
            twice = next(name for name, other in itertools.pairwise(sorted(names)) if name == other)
            raise TokbenchError(
                f"{source}: {beside} has two files {twice}.*, and one goes with an image: move the others"
            )
        stems = Counter(path.stem for path in files) + Counter(Path(file.path).stem for file in found.files)
        self.by_stem = {path.stem: path for path in files if stems[path.stem] == 2}

    def beside_it(self, position: int) -> Path | None:
        """The file of the same path without its ending, with its split's folder or without; else of its name, where
        one image and one file have it."""
        path = self.base / Path(self.files[position].path).with_suffix("")
        names = ("/".join(path.parts[start:]) for start in range(len(self.base.parts) + 1))
        return next((self.partners[name] for name in names if name in self.partners), self.by_stem.get(path.name))

    def partner(self, position: int) -> tuple[Path, str]:
        path = self.beside_it(position)
        assert path is not None
        return path, path.name

    def fingerprint_with(self, view: View) -> str:
        """Of the images, and of the names, sizes and times of the files that go with them."""
        stats = {name: path.stat() for name, path in self.partners.items()}
        rows = (f"{as_utf8(name)} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats.items())
        return digest(super().fingerprint_with(view), self.pairs_with, *rows)


@register(
    {
        "folder:PATH": "a folder of images; sub-folders train/val are splits, others classes; or train=PATH,eval=PATH",
        "folder:PATH,depth=PATH2": "the same in pairs, for a generator's condition: also masks= (labels) and images=",
    }
)
def open_folder(source: str, rest: str, split: Split, view: View, limit: int | None) -> FolderImages:
    """``PATH``, or ``train=PATH,eval=PATH``; of pairs ``PATH,depth=PATH2`` (or ``masks=``, ``images=``), by file name.

    Without names, the sub-folders are read as :mod:`tokbench.data.layout` says: ``train`` and ``val`` (or ``val2017``,
    ``validation``, ``valid``, ``eval``, ``dev``, ``test``: the first kind there is), perhaps below ``images`` or other
    lone folders, are the splits; without those, one image in ten is held out. Class names are those of both splits
    together.

    Raises:
        TokbenchError: no such folder, no images in it, or none that can be read.
    """
    rest, kind, beside = partner_of(rest)
    parts = named_parts(rest, source)
    if "" not in parts:
        part_of(parts, split, source)
    roots = {name: _folder(path, source) for name, path in parts.items()}
    listings = {name: list_folder(str(root), view.media) for name, root in roots.items()}

    def read(name: str, path: str) -> str:
        try:
            return (roots[name] / path).read_text("utf-8", "surrogateescape")
        except OSError as error:
            raise TokbenchError(f"{source}: {roots[name] / path}: {error.strerror}") from None

    found = arranged(listings, split, source, read)
    root = roots[split if split in roots else ""]
    if kind is None:
        images = FolderImages(source, split, view, root, found)
        images.select(found.positions, limit, len(found.files))
        return images
    check_pairs(source, kind, view)
    pairs = Pairs(source, split, view, root, found, kind, _folder(beside, source))
    there = [position for position in found.positions if pairs.beside_it(position) is not None]
    if not (positions := pairs.paired(found.positions, there)):
        raise TokbenchError(f"{source}: no image of its {split} split has a file of its name in {beside}")
    pairs.select(positions, limit, len(found.files))
    return pairs


def as_utf8(path: str) -> str:
    """A file name that is not valid UTF-8 can still be opened; this is how it is written down."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _folder(path: str, source: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise TokbenchError(f"{source}: there is no folder {folder}")
    if not folder.is_dir():
        other = next((kind for kind in ("zip", "npz", "parquet") if folder.suffix.lower() == f".{kind}"), None)
        hint = f": write {other}:{folder}" if other else ", not a folder"
        raise TokbenchError(f"{source}: {folder} is a file{hint}")
    return folder
