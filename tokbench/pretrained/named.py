"""A published model by its name: fetched and imported once, from then on a tokenizer's folder in the cache."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.models.folder import BY_NAME, CONFIG, ORIGIN, WEIGHTS
from tokbench.reading import read_regular
from tokbench.results.environment import content_hash
from tokbench.results.files import refused, write
from tokbench.results.locks import locked

from .catalogue import Entry, find, near
from .fetching import Files, files, given, home

FORM = 1
"""Of imports: raised where an importer is changed so that it makes another model of the same file."""
_IMPORTED = {"hub", "revision", "weights", "config", "sha256", "importer", "settings", "use"}


@BY_NAME.register("named")
def folder_of(name: str) -> Path | None:
    """The tokenizer's folder of the published model ``name``; None where there is no such model.

    Raises:
        TokbenchError: it cannot be fetched, its files are not the model's, or ``name`` is nearly another's.
    """
    if (entry := find(name)) is not None:
        return fetched(entry)
    if (meant := near(name)) is not None:
        raise TokbenchError(f"{name}: no such folder and no published model of that name (did you mean {meant}?)")
    return None


def fetched(entry: Entry, *, again: bool = False, say: Callable[[str], None] = lambda line: None) -> Path:
    """Where the imported model lies; ``again``: fetch and import it anew. ``say`` hears what an import has to say."""
    folder = home(entry) / "tokenizer"
    if not again and _current(entry, folder):  # of a cache, too, that may only be read
        return folder
    try:
        with locked(home(entry) / ".tokbench-import.lock"):  # of many processes one imports, and the others find it
            if again or not _current(entry, folder):
                _make(entry, folder, again, say)
    except OSError as error:
        raise TokbenchError(
            f"{home(entry)}: cannot be written: {refused(error) or error}; TOKBENCH_CACHE says where else"
        ) from error
    return folder


def _make(entry: Entry, folder: Path, again: bool, say: Callable[[str], None]) -> None:
    (folder / ORIGIN).unlink(missing_ok=True)
    found = files(entry, again=again)
    for line in _import(entry, found, folder):
        say(line)
    of_file = {"sha256": found.sha256, **_identity(found.weights)}
    origin = {"model": entry.name, "imported": _key(entry), **of_file, "holds": _held(folder)}
    write(folder / ORIGIN, json.dumps(origin, indent=2) + "\n")


def origin(entry: Entry) -> dict[str, Any] | None:
    """What the imported model was made of; None where there is none."""
    try:
        said = json.loads(read_regular(home(entry) / "tokenizer" / ORIGIN, 2**16))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _current(entry: Entry, folder: Path) -> bool:
    """Whether the folder holds this import, whole: of the same entry, by this tokbench, of the files that lie there."""
    said = origin(entry)
    if said is None or said.get("imported") != _key(entry) or said.get("holds") != _held(folder):
        return False
    lying = given(entry)
    return lying is None or _identity(lying[0]).items() <= said.items()


def _key(entry: Entry) -> str:
    return content_hash({**entry.model_dump(mode="json", include=_IMPORTED), "form": FORM})


def _held(folder: Path) -> dict[str, int] | None:
    """The bytes of the model's files; None where one is missing."""
    try:
        return {name: (folder / name).stat().st_size for name in (CONFIG, WEIGHTS)}
    except OSError:
        return None


def _identity(file: Path) -> dict[str, Any]:
    """By which a file is known again without reading it."""
    found = file.stat()
    return {"bytes": found.st_size, "changed": found.st_mtime_ns}


def _import(entry: Entry, found: Files, folder: Path) -> list[str]:
    """Import the files into ``folder``. TokbenchError where they make another model than the catalogue's."""
    from tokbench.pretrained import read

    config = found.config if found.config is not None else entry.settings
    model, report = read(entry.importer, found.weights, config, entry.use)
    rate = model.rate()
    tokens, bits = math.prod(rate["tokens"][:-1]), rate["bits_per_position"]
    if tokens != entry.tokens or not math.isclose(bits, entry.bits, abs_tol=0.01):
        raise TokbenchError(
            f"{found.weights}: a model of {tokens:,} positions of {bits:.4g} bits, and {entry.name} has "
            f"{entry.tokens:,} of {entry.bits:.4g}: another model's file, or another configuration's"
        )
    model.save_pretrained(folder, entry.licence)
    return report.lines()
