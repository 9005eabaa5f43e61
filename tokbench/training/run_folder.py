"""The folder of a run: who may write into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.training.checkpoint import newest_step

# What may change when a run is continued: how it is watched, guarded and fitted into memory, not what is trained.
CHANGEABLE = {
    "data.workers",
    *(
        f"training.{key}"
        for key in (
            "on_nan",
            "nan_limit",
            "trackers",
            "log_every",
            "picture_every",
            "checkpoint_every",
            "keep_checkpoints",
            "gradient_accumulation",
            "activation_checkpointing",
        )
    ),
}


def claim(out: Path, recipe: Recipe, *, resume: bool, main: bool) -> bool:
    """Make ``out`` this run's own and write ``recipe.yaml``. Returns whether there is a run to continue.

    Raises TokbenchError when ``out`` holds a run and ``resume`` is not set, or holds one of another recipe.
    """
    path, at = out / "recipe.yaml", newest_step(out / "checkpoints")
    resolved = recipe.resolved()
    finished = (out / "training.json").exists()
    if not resume and (at is not None or finished):
        if finished:
            raise TokbenchError(f"{out}: holds a finished run; choose another --out")
        raise TokbenchError(
            f"{out}: holds an unfinished run (step {at}); continue it with --resume or choose another --out"
        )
    if resume and at is not None and path.exists():
        changed = [key for key in differences(_read(path, recipe), resolved) if key not in CHANGEABLE]
        if changed:
            raise TokbenchError(f"{out}: --resume with another recipe: {', '.join(changed)} differ")
    if main:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write(path, yaml.safe_dump(resolved, sort_keys=False))
            if at is None:
                (out / "log.jsonl").unlink(missing_ok=True)
        except OSError as error:
            raise TokbenchError(f"{out}: cannot be written: {error.strerror}") from None
    return resume and at is not None


@contextmanager
def nothing_left(out: Path, main: bool) -> Iterator[None]:
    """Where what is done within is refused, take away ``recipe.yaml`` and the folders that were not there before."""
    path = out / "recipe.yaml"
    before = path.exists() or (out / "log.jsonl").exists() or not main
    folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        if not before:
            path.unlink(missing_ok=True)
            for folder in folders:
                try:
                    folder.rmdir()
                except OSError:  # somebody else's files are in it
                    break
        raise


def _read(path: Path, recipe: Recipe) -> Any:
    """The values a run was started with; keys that are newer than the run have their defaults."""
    values = yaml.safe_load(path.read_text())
    try:
        return type(recipe).model_validate(values).resolved()
    except ValidationError:
        return values


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys in which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in sorted({*old, *new}) for d in differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    return [] if old == new else [prefix.rstrip(".")]
