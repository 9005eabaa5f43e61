"""The folder of a run: who may write into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from pydantic import ValidationError

from tokbench.config.recipe import Recipe
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError
from tokbench.printing import say
from tokbench.results.files import write
from tokbench.results.locks import alone
from tokbench.training.checkpoint import newest_step, tidy

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


@contextmanager
def sole(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold ``out`` while the run lasts; the first process does so for all of them.

    Raises TokbenchError, on every process, where another run holds it or it cannot be written.
    """
    with ExitStack() as held:
        refused = [""]
        if accelerator.is_main_process:
            try:
                busy = f"{out}: another process is training there; wait for it or choose another --out"
                held.enter_context(alone(out / ".run.lock", busy))
                tidy(out / "checkpoints")
            except TokbenchError as error:
                refused = [str(error)]
        if refused := broadcast_object_list(refused)[0]:
            raise TokbenchError(refused)
        yield


def claim(out: Path, recipe: Recipe, *, resume: bool, main: bool) -> bool:
    """Make ``out`` this run's own and write ``recipe.yaml``. Returns whether there is a run to continue.

    Raises TokbenchError as ``check_folder`` does, and where nothing can be written.
    """
    path, at, resolved = out / "recipe.yaml", check_folder(out, recipe, resume=resume), recipe.resolved()
    if main:
        if resume and at is None and (path.exists() or (out / "log.jsonl").exists()):
            say(f"{out}: no checkpoint to continue from; starts over at step 0")
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not path.exists() or _values(path) != resolved:
                write(path, yaml.safe_dump(resolved, sort_keys=False))
            if at is None:
                (out / "log.jsonl").unlink(missing_ok=True)
        except OSError as error:
            raise TokbenchError(f"{out}: cannot be written: {error.strerror}") from None
    return resume and at is not None


def check_folder(out: Path, recipe: Recipe, *, resume: bool) -> int | None:
    """The step of the newest checkpoint in ``out``; nothing is written.

    Raises TokbenchError when ``out`` holds a run and ``resume`` is not set, holds one of another recipe, a
    ``recipe.yaml`` that somebody wrote, or a model that training would replace and no checkpoint leads up to.
    """
    path, at = out / "recipe.yaml", newest_step(out / "checkpoints")
    finished = (out / "training.json").exists()
    if not resume and (at is not None or finished):
        if finished:
            raise TokbenchError(f"{out}: holds a finished run; choose another --out")
        raise TokbenchError(
            f"{out}: holds an unfinished run (step {at}); continue it with --resume or choose another --out"
        )
    if path.exists():
        _check_same(path, recipe, resume, begun=at is not None)
    product = out / recipe.kind
    if at is None and product.exists():
        raise TokbenchError(
            f"{out}: holds a {product.name} and no checkpoint to continue from: nothing to do; to train anew choose "
            "another --out"
        )
    return at


def _check_same(path: Path, recipe: Recipe, resume: bool, begun: bool) -> None:
    """Before the first checkpoint what lies there may be somebody's own file: only what we wrote is written over."""
    old = _read(path, recipe) if begun else _values(path)
    changed = differences(old, recipe.resolved())
    if resume:
        changed = [key for key in changed if key not in CHANGEABLE]
    if not changed:
        return
    keys = ", ".join(changed[:8]) + (", ..." if len(changed) > 8 else "")
    if resume:
        raise TokbenchError(f"{path.parent}: --resume with another recipe: {keys} differ")
    raise TokbenchError(f"{path}: there already, and another recipe ({keys} differ); choose another --out")


@contextmanager
def remove_on_failure(out: Path, main: bool) -> Iterator[None]:
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
    values = _values(path)
    try:
        return type(recipe).model_validate(values).resolved()
    except ValidationError:
        return values


def _values(path: Path) -> Any:
    try:
        return read_yaml(path)
    except TokbenchError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise TokbenchError(f"{path}: not a recipe that can be read ({reason}); choose another --out") from None


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys in which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in sorted({*old, *new}) for d in differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    return [] if old == new else [prefix.rstrip(".")]
