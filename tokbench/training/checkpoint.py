"""Checkpoints that are whole or not there: temporary name, fsync, rename; verified when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from tokbench.errors import TokbenchError, printable

_STATE, _MANIFEST = "state.pt", "manifest.json"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``folder/step-00001234`` atomically and delete all but the newest ``keep``.

    A full disk leaves the older checkpoints untouched and raises TokbenchError.
    """
    final = folder / f"step-{step:08d}"
    scratch = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        torch.save(state, scratch / _STATE)
        _sync(scratch / _STATE)
        manifest = {"step": step, "sha256": _sha256(scratch / _STATE), "bytes": (scratch / _STATE).stat().st_size}
        (scratch / _MANIFEST).write_text(json.dumps(manifest) + "\n")
        _sync(scratch / _MANIFEST)
        if final.exists():
            shutil.rmtree(final)
        os.replace(scratch, final)
        _sync(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(scratch, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        last = newest_step(folder)
        kept = f"; the checkpoint of step {last} is intact" if last is not None else ""
        raise TokbenchError(f"{final}: the checkpoint could not be written: {reason}{kept}") from None
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is intact (None if there is none), and what was wrong with newer ones."""
    problems: list[str] = []
    for path in reversed(_checkpoints(folder)):
        try:
            manifest = json.loads((path / _MANIFEST).read_text())
            if _sha256(path / _STATE) != manifest["sha256"]:
                raise ValueError("its contents do not match its checksum")
            return torch.load(path / _STATE, map_location="cpu", weights_only=True), problems
        except Exception as error:  # a damaged file can fail in any way
            reason = str(error).partition("\n")[0] or repr(error)
            problems.append(f"{path}: damaged, ignored ({printable(reason, 200)})")
    return None, problems


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint in ``folder``, without reading it."""
    found = _checkpoints(folder)
    return int(found[-1].name.removeprefix("step-")) if found else None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdigit())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
