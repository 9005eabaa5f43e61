"""Lists as people write them: ``a,b`` on a command line, one value or a list in a file. Torch-free."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator

from tokbench.config.grid import Size


def words(value: Any) -> list[Any]:
    """``a``, ``a,b``, ``[a, b]`` or, as the command line has it, ``["a,b", "c"]``: a list of words."""
    items = [item.split(",") if isinstance(item, str) else [item] for item in _listed(value)]
    found = [item.strip() if isinstance(item, str) else item for several in items for item in several]
    return [item for item in found if item != ""]


def numbers(value: Any) -> list[int]:
    """The same of whole numbers from zero, ``2^16`` and ``2**16`` included. Raises ValueError for anything else."""
    found: list[int] = []
    for item in words(value):
        base, power, exponent = str(item).replace("**", "^").partition("^")
        try:
            if isinstance(item, bool | float) or (power and int(exponent) > 64):
                raise ValueError
            found.append(int(base) ** int(exponent) if power else int(base))
        except ValueError:
            raise ValueError(f"{item!r} is not a whole number such as 1024 or 2^10") from None
        if found[-1] < 0:
            raise ValueError(f"{item!r} cannot be negative")
    return found


def sizes(value: Any) -> list[Any]:
    """The same of image sizes: sides, ``64x96``, or within a list [64, 96]; what they are is checked as ``Size``."""
    return [item if isinstance(item, list | tuple) or "x" in str(item) else numbers(item)[0] for item in words(value)]


def _settings(value: Any) -> Any:
    """``{a.b: c}`` as the command line has it: ``["a.b=c"]``."""
    if isinstance(value, dict):
        return [f"{key}={_text(item)}" for key, item in value.items()]
    return value


def _axes(value: Any) -> Any:
    """``{a.b: [1, 2]}`` as the command line has it: ``["a.b=1,2"]``."""
    if isinstance(value, dict):
        return [f"{key}={','.join(map(_text, _listed(items)))}" for key, items in value.items()]
    return value


def _text(value: Any) -> str:
    return json.dumps(value, default=str)  # a script may give a Path


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | range) else [value]


Words = Annotated[list[str], BeforeValidator(words)]
Sizes = Annotated[list[Size], BeforeValidator(sizes)]
Numbers = Annotated[list[int], BeforeValidator(numbers)]
Settings = Annotated[list[str], BeforeValidator(_settings)]
Axes = Annotated[list[str], BeforeValidator(_axes)]
