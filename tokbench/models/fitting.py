"""A file of weights, and whether it fills a model: every name and every shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tokbench.errors import TokbenchError, printable


def read_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU."""
    if not path.is_file():
        raise TokbenchError(
            f"{path.parent}: no {path.name} there; weights in other formats come in by `tokbench import`"
        )
    try:
        with path.open("rb"):  # or a file that may not be read passes for a damaged one
            pass
    except OSError as error:
        raise TokbenchError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        reason = printable(str(error), 120)
        raise TokbenchError(f"{path}: not a whole safetensors file ({reason}); copy or download it again") from error


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Fill every weight and buffer of ``module``; TokbenchError lists missing, left-over and misshapen names."""
    check_fits(module.state_dict(), tensors, origin)
    with torch.no_grad():
        module.load_state_dict(tensors)


def check_fits(wanted: dict[str, Any], tensors: dict[str, Tensor], origin: str) -> None:
    """TokbenchError that lists missing, left-over and misshapen names."""
    problems = mismatches(wanted, tensors)
    if problems:
        message = printable("; ".join(problems), 320)
        raise TokbenchError(f"{origin}: the weights do not fit the configuration: {message}")


def mismatches(wanted: dict[str, Any], given: dict[str, Any], show: int = 4) -> list[str]:
    """What keeps ``given`` from filling ``wanted``, with the first few names of each kind."""

    def listed(names: list[str]) -> str:
        first = ", ".join(printable(name, 100) for name in names[:show])
        return first + (f" and {len(names) - show} more" if len(names) > show else "")

    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {list(given[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    found = (("missing", missing), ("left over", extra), ("other shapes", shapes))
    return [f"{kind}: {listed(names)}" for kind, names in found if names]
