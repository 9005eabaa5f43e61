"""Whole modules in a pickle, as ``torch.save(model)`` writes them: their tensors by name, without their classes.

torch's own reader of tensors reads the file; where it asks for the class of a module it is given a holder, which keeps
the attributes and can do nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MODULES = ("torch.nn.modules.", "dall_e.")
"""Whose classes are modules, as far as files that people publish have them."""
_DEEPEST = 20


class _Holder:
    """A module's attributes."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]


def only_modules(names: Collection[str]) -> bool:
    """Whether a pickle that names these globals beside tensors holds nothing but modules."""
    return bool(names) and all(name.startswith(MODULES) or name in _ATTRIBUTES for name in names)


_ATTRIBUTES = ("__builtin__.set", "builtins.set", "torch.device")  # that every module has, or DALL-E's have


def read(path: Path, names: Collection[str]) -> dict[str, Tensor]:
    """The state dict of the module in the file; ``names``: the globals that it asks for beside those of tensors.

    Raises:
        pickle.UnpicklingError: the file asks for something else.
        ValueError: it holds no module.
    """
    classes: Any = [(_Holder, name) for name in names if name.startswith(MODULES)]
    with torch.serialization.safe_globals([*classes, set]), open(path, "rb") as file:
        module = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(module, _Holder):
        raise ValueError(f"a {type(module).__name__}, not a module")
    return dict(_state(module, "", 0))


def _state(module: _Holder, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    held = vars(module)
    for kind in ("_parameters", "_buffers"):
        for name, value in held.get(kind, {}).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value.detach()
    for name, inner in held.get("_modules", {}).items():
        if isinstance(inner, _Holder) and depth < _DEEPEST:
            yield from _state(inner, f"{prefix}{name}.", depth + 1)
