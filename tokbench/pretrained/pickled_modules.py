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
_MOST, _DEEPEST = 10_000, 20


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
    return dict(_state(module))


def _state(top: _Holder) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors. ValueError where modules hold each other without end."""
    waiting, seen = [("", top)], 0
    while waiting:
        prefix, module = waiting.pop()
        held, seen = vars(module), seen + 1
        if seen > _MOST or prefix.count(".") > _DEEPEST:
            raise ValueError(f"more than {_MOST:,} modules, or {_DEEPEST} within each other")
        for kind in ("_parameters", "_buffers"):
            for name, value in held.get(kind, {}).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value.detach()
        inner = held.get("_modules", {}).items()
        waiting += [(f"{prefix}{name}.", one) for name, one in inner if isinstance(one, _Holder)]
