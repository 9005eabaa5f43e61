"""The folder of a run: who may write into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.training.checkpoint import newest_step


def claim(out: Path, resolved: dict[str, Any], *, resume: bool, main: bool) -> bool:
    """Make ``out`` this run's own and write ``recipe.yaml``. Returns whether there is a run to continue.

    Raises TokbenchError when ``out`` holds a run and ``resume`` is not set, or holds one of another recipe.
    """
    recipe, at = out / "recipe.yaml", newest_step(out / "checkpoints")
    finished = (out / "training.json").exists()
    if not resume and (at is not None or finished):
        if finished:
            raise TokbenchError(f"{out}: holds a finished run; choose another --out")
        raise TokbenchError(
            f"{out}: holds an unfinished run (step {at}); continue it with --resume or choose another --out"
        )
    if resume and at is not None and recipe.exists():
        changed = differences(yaml.safe_load(recipe.read_text()), resolved)
        if changed:
            raise TokbenchError(f"{out}: --resume with another recipe: {', '.join(changed)} differ")
    if main:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write(recipe, yaml.safe_dump(resolved, sort_keys=False))
            if at is None:
                (out / "log.jsonl").unlink(missing_ok=True)
        except OSError as error:
            raise TokbenchError(f"{out}: cannot be written: {error.strerror}") from None
    return resume and at is not None


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys in which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in sorted({*old, *new}) for d in differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    return [] if old == new else [prefix.rstrip(".")]
