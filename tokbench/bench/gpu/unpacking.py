"""What was brought along for ``tokbench bench gpu``, put where it is read from: weights, images, a revision."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tokbench.errors import TokbenchError
from tokbench.results.environment import REVISION, git_state
from tokbench.results.files import written
from tokbench.weights.store import path_of

MANIFEST = "manifest.json"
ROOT = Path(__file__).resolve().parents[3]
IMAGES = Path("runs/gpu-data/sample.zip")


class Piece(msgspec.Struct):
    """A file of a part: all of the file ``of``, or what of it begins at ``start``.

    ``bytes`` and ``sha256`` are of the whole.
    """

    name: str
    of: str
    start: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct):
    """What is in a part, and of which code it was made: its revision, where git knows one, and its hash."""

    files: list[Piece]
    revision: str
    code: str


def revision_here() -> str:
    """The commit of the code here, with ``-dirty`` behind it where it is changed; empty outside of git."""
    git = git_state()
    return f"{git.revision}{'-dirty' if git.dirty else ''}" if git.revision else ""


def code_hash() -> str:
    """Of the code and recipes here, whether git knows them or not."""
    found = hashlib.sha256()
    for folder, kind in (("tokbench", "*.py"), ("quantizers", "*.py"), ("recipes", "*.yaml")):
        for path in sorted((ROOT / folder).rglob(kind)):
            found.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def unpack(folders: Sequence[Path]) -> list[str]:
    """Put together what is in these parts, or folders of parts, but for wheels; what was done, by name.

    Records made from here on have the revision that the parts say, if the code is still the same.

    Raises:
        TokbenchError: a folder without parts, a damaged part, a file that is not what was packed.
    """
    manifests = [file for folder in folders for file in sorted({*folder.glob(MANIFEST), *folder.glob(f"*/{MANIFEST}")})]
    if folders and not manifests:
        raise TokbenchError(f"--bundle {folders[0]}: no {MANIFEST} in it or in a folder of it; see make gpu-bundle")
    pieces: dict[str, dict[int, tuple[Piece, Path]]] = {}
    lines = []
    for file in manifests:
        manifest = _read(file)
        for piece in manifest.files:
            if (file.parent / piece.name).is_file():
                pieces.setdefault(piece.of, {})[piece.start] = piece, file.parent / piece.name
        if file == manifests[0]:
            lines += _same_code(manifest)
    for name, found in sorted(pieces.items()):
        if (target := _target(name)) is not None:
            lines.append(_whole(name, target, [found[start] for start in sorted(found)]))
    return lines


def _read(file: Path) -> Manifest:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except ValueError as error:
        raise TokbenchError(f"{file}: damaged ({error}); make the bundle again") from None


def _same_code(manifest: Manifest) -> list[str]:
    if revision_here():
        return []
    if manifest.code != code_hash():
        return ["the code is not what the bundle was made of: records will have no revision"]
    os.environ[REVISION] = manifest.revision
    return [f"the code is {manifest.revision}"] if manifest.revision else []


def _whole(name: str, target: Path, found: Sequence[tuple[Piece, Path]]) -> str:
    content = b"".join(path.read_bytes() for _, path in found)
    if len(content) != found[0][0].bytes:
        return f"{name}: {len(content):,} of {found[0][0].bytes:,} bytes are here; left out"
    if hashlib.sha256(content).hexdigest() != found[0][0].sha256:
        raise TokbenchError(f"{name}: not what was packed; make the bundle again")
    with written(target) as draft:
        draft.write_bytes(content)
    return f"{name}: {target}"


def _target(name: str) -> Path | None:
    """Where a file of a bundle belongs; wheels are installed before, and stay."""
    if name.endswith(".safetensors"):
        return path_of(name.removesuffix(".safetensors"))
    return IMAGES if name == IMAGES.name else None
