"""What the content address of a run is made of: every setting that changes its result and is not the schema's default.

A setting added to the schema later has its default in every run made before, so it is in no address until somebody
sets it: old records keep answering for the runs they are of. The price is that a default, once published, is part of
every address and may not be changed; a test holds it.
"""

from __future__ import annotations

import functools
import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from tokbench.config.recipe import Recipe

# What a run is called, how often it reports and with how many helpers it reads: nothing of this changes its result.
_REPORTING: dict[str, tuple[str, ...]] = {
    "training": ("log_every", "picture_every", "checkpoint_every", "keep_checkpoints", "trackers"),
    "data": ("workers",),
}
_CALLED = ("name", "description")


def address_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide the result of a recipe, those at the schema's defaults left out, as JSON has them.

    Two recipes of different results never have the same settings; two that differ in their name, their description or
    in how often they report have.
    """
    blocks = {name: _at_defaults(getattr(recipe, name), keys) for name, keys in _REPORTING.items()}
    found = unlike_default(recipe.model_copy(update=blocks))
    return {key: value for key, value in found.items() if key not in _CALLED}


def experiment_settings(recipe: Recipe) -> dict[str, Any]:
    """The same without the seed: what all seeds of an experiment have."""
    return {key: value for key, value in address_settings(recipe).items() if key != "seed"}


def unlike_default(model: BaseModel) -> dict[str, Any]:
    """The settings of ``model`` that differ from the defaults of its class, recursively.

    Tags stay (a field with one possible value, such as ``architecture``): they say which class's defaults are meant.
    So the class and what is left give back the whole. A block whose default is another one, or none, stays even where
    nothing is left in it.
    """
    whole, defaults = model.model_dump(mode="json"), _defaults(type(model))
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        if name not in defaults or whole[name] != defaults[name]:
            found[name] = _inside(getattr(model, name), whole[name])
    return found | (model.model_extra or {})


def without_reporting(settings: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe (every setting, defaults included) without what changes nothing about its result."""
    found = {key: value for key, value in settings.items() if key not in _CALLED}
    for name, keys in _REPORTING.items():
        found[name] = {key: value for key, value in settings[name].items() if key not in keys}
    return found


def _at_defaults(block: BaseModel, keys: tuple[str, ...]) -> BaseModel:
    fields = {key: field for key, field in type(block).model_fields.items() if key in keys}
    return block.model_copy(update={k: field.get_default(call_default_factory=True) for k, field in fields.items()})


def _is_tag(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1


@functools.cache
def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """As JSON has them, of the fields that have one and are no tag."""
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in kind.model_fields.items()
        if not (_is_tag(field) or field.is_required())
    }


def _inside(value: Any, as_json: Any) -> Any:
    if isinstance(value, BaseModel):
        return unlike_default(value)
    if isinstance(value, list | tuple) and any(isinstance(item, BaseModel) for item in value):
        return [_inside(item, plain) for item, plain in zip(value, as_json, strict=True)]
    return as_json
