"""What an importer is, and the registry of them: one file a source in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError, did_you_mean

from .names import Layout

Weights = Literal["auto", "live", "ema"]


@dataclass
class Plan:
    """A checkpoint read: the configuration of the tokenizer it makes and where every tensor goes."""

    config: TokenizerConfig
    weights: str  # where the tensors came from, in words
    tensors: dict[str, Tensor]  # our name -> tensor, for encoder and decoder
    codebook: dict[str, Tensor]  # for ``fill_codebook``: "codebook", and "cluster_size", "embed_sum" where given
    layout: Layout
    ignored: dict[str, list[str]] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Importer:
    """A source of published checkpoints.

    Args:
        recognises: whether a file with these weight names is of this source.
        read: (content, configuration as plain data, path, which weights) -> plan.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    read: Callable[[dict[str, Any], dict[str, Any], str, Weights], Plan]


_IMPORTERS: dict[str, Importer] = {}


def register(importer: Importer) -> Importer:
    """Make ``importer`` known by its name; a name taken twice is an error."""
    if importer.name in _IMPORTERS:
        raise ValueError(f"the importer {importer.name!r} is already registered")
    _IMPORTERS[importer.name] = importer
    return importer


def importers() -> dict[str, Importer]:
    """Every importer by name; the modules of this package are imported once to find them."""
    import tokbench.pretrained as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(_IMPORTERS)


def choose(source: str | None, content: dict[str, Any], path: str) -> Importer:
    """The importer asked for, or the one whose layout the file has. TokbenchError where they disagree or none fits."""
    known = importers()
    keys = weight_names(content)
    fits = [name for name, importer in known.items() if importer.recognises(keys)]
    if source is None or source == "auto":
        if not fits:
            raise TokbenchError(
                f"{path}: no known layout ({', '.join(sorted(known))}); its first weights: "
                f"{', '.join(sorted(keys)[:5]) or 'none'}"
            )
        return known[fits[0]]
    name = source.replace("_", "-").lower()
    if name not in known:
        raise TokbenchError(f"unknown source {source!r}{did_you_mean(name, known)}")
    if name not in fits:
        looks = f"; it looks like {fits[0]}" if fits else ""
        raise TokbenchError(
            f"{path}: not a checkpoint in the layout of {name}{looks}; its first weights: "
            f"{', '.join(sorted(keys)[:5]) or 'none'}"
        )
    return known[name]


def weight_names(content: dict[str, Any]) -> set[str]:
    """The names of all tensors in a checkpoint's dictionary and the dictionaries directly in it."""
    names = {str(key).removeprefix("module.") for key, value in content.items() if isinstance(value, Tensor)}
    for value in content.values():
        if isinstance(value, dict):
            names |= {str(key).removeprefix("module.") for key, inner in value.items() if isinstance(inner, Tensor)}
    return names
