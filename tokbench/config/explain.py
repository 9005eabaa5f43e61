"""From pydantic's findings to lines a person can act on: file, key, what is wrong, what was meant."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from tokbench.errors import did_you_mean, printable, shown

_MOST = 20  # mistakes that are told at once


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


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation may stand for."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]


def _descend(models: list[type[BaseModel]], part: str) -> list[type[BaseModel]]:
    tagged = [m for m in models if any(part in typing.get_args(f.annotation) for f in m.model_fields.values())]
    inside = [m for model in models if part in model.model_fields for m in _models(model.model_fields[part].annotation)]
    return inside or tagged


def known_keys(model: type[BaseModel], path: Sequence[str]) -> set[str]:
    """The keys that may stand in the block at ``path`` of ``model``."""
    models = [model]
    for part in path:
        models = _descend(models, part)
    return {name for m in models for name in m.model_fields}


def is_tag(model: type[BaseModel], loc: Sequence[str], index: int) -> bool:
    """Whether ``loc[index]`` is a union's tag, which pydantic puts into the path but nobody typed."""
    models = [model]
    for part in loc[:index]:
        models = _descend(models, part)
    named = any(loc[index] in m.model_fields for m in models)
    return not named and bool(models) and index < len(loc) - 1 and not loc[index].isdigit()
