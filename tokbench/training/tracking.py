"""Values sent to TensorBoard or Weights & Biases while a run lasts, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from tokbench.errors import TokbenchError
from tokbench.secrets import without_secrets

FOLDER = "tracking"  # within the run's folder


def check_trackers(names: Sequence[str]) -> None:
    """TokbenchError for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise TokbenchError(f"training.trackers: {name} is not installed: pip install 'tokbench[trackers]'")


def start_trackers(
    accelerator: Accelerator, names: Sequence[str], out: Path, title: str, settings: Mapping[str, Any], step: int
) -> None:
    """Begin to send values; what is sent stands under ``out/tracking`` (TensorBoard) or in the project ``tokbench``.

    settings: the resolved recipe, kept with the run. step: of the checkpoint a run continues from; what TensorBoard
    was told of later steps, which did not happen, is hidden.
    """
    if not names:
        return
    folder = out / FOLDER
    accelerator.project_configuration.logging_dir = str(folder)
    accelerator.log_with = filter_trackers(list(names), str(folder))
    resumed = {"purge_step": step + 1} if step else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        accelerator.init_trackers(
            "tokbench",
            config=_flat(without_secrets(settings)),
            init_kwargs={"tensorboard": resumed, "wandb": {"name": title, "dir": str(folder)}},
        )
    except Exception as error:  # of another's package: no account, no network, a full disk
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TokbenchError(f"training.trackers: {', '.join(names)} could not be started: {reason}") from error


def track(accelerator: Accelerator, values: Mapping[str, float], step: int) -> None:
    """Send one step's values, on the main process."""
    if accelerator.trackers:
        accelerator.log(dict(values), step=step)


def stop_trackers(accelerator: Accelerator) -> None:
    """Write out what is still held back. Not ``end_training``, which also ends the process group."""
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.trackers.clear()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``; what is neither number nor text becomes text."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
