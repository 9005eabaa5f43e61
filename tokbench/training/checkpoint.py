"""Checkpoints that are whole or not there: temporary name, fsync, rename; verified when read.

Whoever writes holds the run's folder (``run_folder.sole``).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from tokbench.errors import TokbenchError, printable
from tokbench.reading import sha256_of
from tokbench.results.files import fsync, refused

_STATE, _MANIFEST = "state.pt", "manifest.json"
FORMAT = 1  # of what a state means; a manifest without it is older and of this format


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``folder/step-00001234`` atomically and delete the others but the newest ``keep - 1``: a newer one may be
    damaged, this one is whole.

    A full disk leaves the older checkpoints untouched and raises TokbenchError.
    """
    final = folder / f"step-{step:08d}"
    scratch, aside = (folder / f".{final.name}.{os.getpid()}.{end}" for end in ("tmp", "old"))
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        torch.save(state, scratch / _STATE)
        fsync(scratch / _STATE)
        size, sha256 = (scratch / _STATE).stat().st_size, sha256_of(scratch / _STATE)
        manifest = {"format": FORMAT, "step": step, "sha256": sha256, "bytes": size}
        (scratch / _MANIFEST).write_text(json.dumps(manifest) + "\n")
        fsync(scratch / _MANIFEST)
        if final.exists():
            os.replace(final, aside)
        os.replace(scratch, final)
        fsync(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        tidy(folder)
        reason = refused(error) or str(error)
        last = newest_step(folder)
        kept = f"; the checkpoint of step {last} is intact" if last is not None else ""
        raise TokbenchError(f"{final}: the checkpoint could not be written: {reason}{kept}") from None
    others = [path for path in _checkpoints(folder) if path != final]
    for old in others[: max(0, len(others) - keep + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    tidy(folder)
    return final


def tidy(folder: Path) -> None:
    """Clear away what killed writers left: half a checkpoint goes, one set aside for another comes back if that one
    did not come."""
    for path in folder.glob(".step-*.old"):
        final = folder / f"step-{path.name.split('.')[1].removeprefix('step-')}"
        if not final.exists():
            os.replace(path, final)
    for path in (*folder.glob(".step-*.old"), *folder.glob(".step-*.tmp")):
        shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is intact (None if there is none), and what was wrong with newer ones.

    Raises TokbenchError where one may not be read, or is of another version's format: it is not damaged, and going on
    from an older one would lose it.
    """
    problems: list[str] = []
    for path in reversed(_checkpoints(folder)):
        try:
            manifest = json.loads((path / _MANIFEST).read_text())
            if (version := manifest.get("format", FORMAT)) != FORMAT:
                message = f"a checkpoint of format {printable(str(version), 40)}; this tokbench reads format {FORMAT}"
                raise TokbenchError(f"{path}: {message}; continue with the tokbench that wrote it")
            if sha256_of(path / _STATE) != manifest["sha256"]:
                raise ValueError("its contents do not match its checksum")
            return torch.load(path / _STATE, map_location="cpu", weights_only=True), problems
        except PermissionError as error:
            raise TokbenchError(f"{error.filename or path}: cannot be read: {error.strerror}") from None
        except TokbenchError:
            raise
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
