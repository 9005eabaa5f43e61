"""The files of a published model: those that somebody put into the cache, else the hub's, checked against their hash.

Where: ``<cache>/models/NAME/`` (``$TOKBENCH_CACHE``, else ``~/.cache/tokbench``); what comes from the hub stays in its
own cache, so that a download goes on where it was broken off and other programs share it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tokbench.errors import TokbenchError, printable
from tokbench.hub import reachable_or_offline, reason
from tokbench.reading import sha256_of
from tokbench.weights.store import cache_dir

from .catalogue import Entry
from .folders import INDEX, PART

_WEIGHTS = (".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".jit", ".pkl")
_CONFIGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Files:
    """What an importer reads. ``sha256``: of the weights."""

    weights: Path
    config: Path | None
    sha256: str


def home(entry: Entry) -> Path:
    """The folder of everything that is kept of a model."""
    return cache_dir() / "models" / entry.name


def files(entry: Entry, *, again: bool = False) -> Files:
    """The files, fetched where they are not here; ``again``: whatever the hub's cache has.

    Raises:
        TokbenchError: one line that says what to fetch from where and where to put it, or which hash is wrong.
    """
    lying = given(entry)
    weights, config = lying or _from_hub(entry, again)
    found = sha256_of(weights)
    blob = weights.resolve().name  # the hub names large files by their hash
    wanted = entry.sha256 or (blob if lying is None and re.fullmatch("[0-9a-f]{64}", blob) else found)
    if found != wanted:
        raise TokbenchError(
            f"{weights}: should have SHA-256 {wanted} and has {found}: damaged, or another file; remove it and fetch "
            f"it again from {entry.page}"
        )
    return Files(weights, config, found)


def given(entry: Entry) -> tuple[Path, Path | None] | None:
    """What somebody put into the model's folder, by its own names or as the only files of their kind; of weights in
    parts their index."""
    folder = home(entry)
    if not folder.is_dir():
        return None
    inside = [folder / name for name in entry.files if Path(name).name != name]  # as the repository has them
    lying = sorted(path for path in [*folder.iterdir(), *inside] if path.is_file() and not path.name.startswith("."))
    indices = [path for path in lying if path.name.endswith(INDEX)]
    whole = [path for path in lying if path not in indices and not PART.search(path.stem)]
    if not indices and any(PART.search(path.stem) for path in lying) and not _of(whole, _WEIGHTS):
        raise TokbenchError(f"{folder}: parts of a model; put the index of them (*{INDEX}) beside them")
    weights = _one(entry, [*indices, *whole], entry.weights, (*_WEIGHTS, INDEX))
    return None if weights is None else (weights, _one(entry, whole, entry.config, _CONFIGS))


def _of(paths: list[Path], endings: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if path.name.lower().endswith(endings)]


def _one(entry: Entry, lying: list[Path], name: str | None, endings: tuple[str, ...]) -> Path | None:
    found = _of(lying, endings)
    named = [path for path in found if name is not None and path.name == Path(name).name]
    if len(named or found) > 1:
        names = ", ".join(printable(path.name, 60) for path in found[:4])
        raise TokbenchError(
            f"{home(entry)}: {names}: keep the one that is the model's ({name or 'it has no name here'})"
        )
    return next(iter(named or found), None)


def _from_hub(entry: Entry, again: bool) -> tuple[Path, Path | None]:
    if entry.hub is None or entry.weights is None:
        wanted = " and ".join(entry.files if entry.weights else ["its checkpoint", *entry.files])
        raise TokbenchError(
            f"{entry.name}: not on the hub: fetch {wanted} from {entry.page} and put "
            f"{'them' if ' and ' in wanted else 'it'} into {home(entry)}"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    fetched = []
    try:
        with reachable_or_offline():
            for name in entry.files:
                fetched.append(Path(hf_hub_download(entry.hub, name, revision=entry.revision, force_download=again)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        addresses = " and ".join(f"{entry.page}/resolve/{entry.revision}/{name}" for name in entry.files)
        raise TokbenchError(
            f"{entry.name}: the hub did not give it ({reason(error)}): fetch {addresses} and put "
            f"{'them' if len(entry.files) > 1 else 'it'} into {home(entry)}"
        ) from error
    return fetched[0], fetched[1] if entry.config else None
