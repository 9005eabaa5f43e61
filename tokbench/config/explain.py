"""From pydantic's findings to lines a person can act on: file, key, what is wrong, what was meant."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from tokbench.config.architecture import SETTINGS, Architecture
from tokbench.errors import did_you_mean, printable, shown

_MOST = 20  # mistakes reported at once


def explain(model: type[BaseModel], error: ValidationError, where: Callable[[str], str]) -> Iterator[str]:
    """One line a mistake, of twenty at most; ``where`` tells the file or option a dotted key came from."""
    found = error.errors(include_url=False)
    for item in found[:_MOST]:
        loc = [str(part) for part in item["loc"]]
        key = ".".join(part for i, part in enumerate(loc) if i == 0 or not is_tag(model, loc, i))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"unknown key{did_you_mean(loc[-1], known_keys(model, loc[:-1]))}"
        elif item["type"] == "missing":
            message = "is missing"
        elif item["type"] != "value_error":
            message = f"{printable(message[0].lower() + message[1:], 160)}, got {shown(item['input'])}"
        yield f"{printable(where(key), 200)}: {printable(key, 80) + ': ' if key else ''}{printable(message, 240)}"
    if len(found) > _MOST:
        yield f"{printable(where(''), 200)}: {len(found) - _MOST} more mistakes"


def known_keys(model: type[BaseModel], path: Sequence[str]) -> set[str]:
    """The keys that may stand in the block at ``path`` of ``model``."""
    here = _walked(model, path)
    return {name for kind in here if _is_model(kind) for name in kind.model_fields}


def is_tag(model: type[BaseModel], loc: Sequence[str], index: int) -> bool:
    """Whether ``loc[index]`` is a union's tag, which pydantic puts into the path but nobody typed."""
    _, typed = _step(_walked(model, loc[:index]), loc[index])
    return not typed and index < len(loc) - 1 and not loc[index].isdigit()


def _walked(model: type[BaseModel], path: Sequence[str]) -> list[Any]:
    """What may stand at ``path``: models and other types."""
    here: list[Any] = [model]
    for part in path:
        here, _ = _step(here, part)
    return here


def _step(here: list[Any], part: str) -> tuple[list[Any], bool]:
    """What may stand one part of the path further on, and whether somebody typed that part: a tag leads nowhere."""
    found: list[Any] = []
    for kind in here:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if _is_model(kind) and part in kind.model_fields:
            found += _alternatives(kind.model_fields[part].annotation)
        elif origin is dict:
            found += _alternatives(arguments[1])
        elif origin in (list, tuple) and part.isdigit():
            found += _alternatives(arguments[0])
    if found:
        return found, True
    tagged = [
        kind
        for kind in here
        if _is_model(kind) and any(part in typing.get_args(f.annotation) for f in kind.model_fields.values())
    ]
    return tagged or here, False


def _alternatives(annotation: Any) -> list[Any]:
    """The types an annotation may stand for, unions and their marks taken apart."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _alternatives(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [kind for argument in arguments for kind in _alternatives(argument)]
    return SETTINGS.loaded() if annotation is Architecture else [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
