"""The model block of a recipe under another architecture, or with another downsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokbench.config.architecture import SETTINGS, Architecture
from tokbench.errors import TokbenchError, did_you_mean


def with_encoder(model: dict[str, Any], name: str) -> dict[str, Any]:
    """The model block for another architecture: settings that it has too stay, so that sizes compare."""
    if (settings := SETTINGS.find(name)) is None:
        raise TokbenchError(f"--encoder {name}: unknown architecture{did_you_mean(name, SETTINGS)}")
    fields, own = settings.model_fields, SETTINGS.find(model.get("architecture", "vqgan"))
    # What has the same name need not be the same setting: the other's values are then not its own.
    other = {key for key, field in fields.items() if _type(own, key) not in (None, field.annotation)}
    kept = {key: value for key, value in model.items() if key in fields and key not in other}
    if model.get("architecture") == name:
        return kept
    if _of_patches(settings) and "multipliers" in model:
        kept.setdefault("patch_size", 2 ** (len(model["multipliers"]) - 1))
    elif "patch_size" in model and "multipliers" in settings.model_fields:
        kept = with_downsampling({**kept, "architecture": name}, model["patch_size"])
    return {**kept, "architecture": name}


def with_downsampling(model: dict[str, Any], factor: int) -> dict[str, Any]:
    """The model block with levels taken away or the last one repeated until one code covers factor x factor."""
    name = model.get("architecture", "vqgan")
    if (settings := SETTINGS.find(name)) is not None and _of_patches(settings):
        return {**model, "patch_size": factor}
    if settings is not None and "multipliers" not in settings.model_fields:
        raise TokbenchError(f"--downsampling {factor}: {name} has no levels; --vary its own keys")
    levels = factor.bit_length()
    if factor < 1 or factor != 1 << (levels - 1):
        raise TokbenchError(f"downsampling {factor} is not a power of two")
    given = list(model.get("multipliers") or [1, 1, 2, 2, 4])
    return {**model, "multipliers": (given + given[-1:] * levels)[:levels]}


def check_model_keys(model: dict[str, Any], encoders: Sequence[str]) -> None:
    """TokbenchError for a setting that none of the architectures has: each of them is given its own alone."""
    found = [SETTINGS.find(name) for name in (model.get("architecture", "vqgan"), *encoders)]
    known = {key for settings in found if settings is not None for key in settings.model_fields}
    for key in model if encoders else ():
        if key not in known:
            raise TokbenchError(f"model.{key}: no setting of {', '.join(encoders)}{did_you_mean(key, known)}")


def _type(settings: type[Architecture] | None, key: str) -> Any:
    return settings.model_fields[key].annotation if settings is not None and key in settings.model_fields else None


def _of_patches(settings: type[Architecture]) -> bool:
    """Whether a patch is what a position stands for: there are no levels that reduce it further."""
    return "patch_size" in settings.model_fields and "multipliers" not in settings.model_fields
