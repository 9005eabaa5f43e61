"""Where a number was made: versions, devices, revision. No host name, user name or path is ever recorded."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from tokbench.cores import in_mask
from tokbench.results.record import Git

_PACKAGES = ("torch", "torchvision", "numpy", "accelerate", "tokbench")
_CODE = ("tokbench", "quantizers", "recipes", "pyproject.toml")
REVISION = "TOKBENCH_REVISION"  # of code that was brought here without its history: a commit, -dirty where changed


def describe() -> dict[str, Any]:
    """Python, package versions, platform, CPU, and the GPUs if torch is already imported (it is not imported here)."""
    return {
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": in_mask(),
        "gpus": _gpu_names(),
    }


def provenance() -> dict[str, Any]:
    """``created``, ``git`` and ``environment`` as JSON: what stands beside every number, fields of a record by name."""
    return {"created": now(), "git": msgspec.structs.asdict(git_state()), "environment": describe()}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def git_state() -> Git:
    """Revision and whether there are changes on top of it, of the checkout that tokbench runs from.

    Only its code counts as a change: appending to ``results/runs.jsonl`` does not make the next record dirty, a new
    quantizer that is not committed does. Outside of git, or where an installed tokbench merely lies inside another
    project: what ``TOKBENCH_REVISION`` says, else ``Git(None, None)``.
    """
    root = Path(__file__).resolve().parents[2]
    if _git(root, "ls-files", "--error-unmatch", "tokbench/__init__.py") is None:
        return _told()
    return _state(root, [name for name in _CODE if (root / name).exists()])


def _told() -> Git:
    found = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", os.environ.get(REVISION, ""))
    return Git(found[1], bool(found[2])) if found else Git(revision=None, dirty=None)


def new_id() -> str:
    """12 random hex digits: unique to one line of the store; any unique beginning of it names the run."""
    return secrets.token_hex(6)


def content_hash(obj: Any) -> str:
    """The first 12 hex digits of the SHA-256 of ``obj`` as canonical JSON (sorted keys, no spaces).

    Raises:
        TypeError, ValueError: ``obj`` has no JSON form (pydantic models do), or a number in it is not finite.
    """
    text = json.dumps(
        obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_model_as_json
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _model_as_json(obj: Any) -> Any:
    if hasattr(obj, "model_dump"):
        return obj.model_dump(mode="json")
    raise TypeError(f"{type(obj).__name__} has no JSON form")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _state(folder: Path, only: Sequence[str] = ()) -> Git:
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return Git(revision=None, dirty=None)
    changes = _git(folder, "status", "--porcelain", "--", *only)
    return Git(revision=revision, dirty=None if changes is None else bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_DIR and its like (set inside hooks) would point at another repository; status must not take the index lock.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], env=environment, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
