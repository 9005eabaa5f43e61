"""What an importer is, and the registry of them: one file a source in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError, did_you_mean, printable

from .checkpoint import model_class
from .names import Layout
from .weight_sets import Contents, Weights

__all__ = ["Importer", "Plan", "Weights", "choose", "importers", "register"]


@dataclass
class Plan:
    """A checkpoint read: the configuration of the tokenizer it makes and where every tensor goes."""

    config: TokenizerConfig
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
        recognises: whether weights of these official names are of this source.
        read: (official name -> tensor, configuration as plain data, path) -> plan.
        evaluates: the weights that the official code evaluates, where a file has live ones and averages.
        classes: the model classes that a configuration of this source may name; empty: any.
        like: a source whose names are the same, and whose codes are not. Names alone then mean that one.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    read: Callable[[dict[str, Tensor], dict[str, Any], str], Plan]
    evaluates: Literal["live", "ema"] = "live"
    classes: tuple[str, ...] = ()
    like: str = ""


OURS = "encoder.stem.weight"  # a name that no official layout has

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


def choose(source: str | None, contents: Contents, config: dict[str, Any]) -> tuple[Importer, list[str]]:
    """The importer asked for, or the one whose layout the file has; with what is to be told about the choice.

    Raises:
        TokbenchError: none fits, several do, or what was asked for is not what file and configuration are.
    """
    known, path, said = importers(), contents.path, model_class(config)
    fits = [name for name, importer in known.items() if contents.sets(importer.recognises)]
    seen = ", ".join(printable(name, 60) for name in sorted(contents.flat)[:5]) or "none"
    by_class = [name for name in fits if not known[name].classes or said in known[name].classes]
    if source is None or source == "auto":
        if not fits:
            seen += "; it is a tokenizer of tokbench's, used by its folder" if OURS in contents.flat else ""
            raise TokbenchError(f"{path}: no known layout ({', '.join(sorted(known))}); its first weights: {seen}")
        if said and not by_class:
            raise _of_another_class(path, said, fits)
        fits = by_class if said else [name for name in fits if not known[name].like]
        if len(fits) > 1:
            raise TokbenchError(f"{path}: could be {' or '.join(sorted(fits))}; name the one that it is")
        return known[fits[0]], _doubt(known, fits[0], contents) if not said else []
    name = source.replace("_", "-").lower()
    if name not in known:
        raise TokbenchError(f"unknown source {source!r}{did_you_mean(name, known)}")
    if name not in fits:
        looks = f"; it looks like {fits[0]}" if fits else ""
        raise TokbenchError(f"{path}: not a checkpoint in the layout of {name}{looks}; its first weights: {seen}")
    if said and name not in by_class:
        raise _of_another_class(path, said, [name], by_class)
    return known[name], []


def _of_another_class(path: str, said: str, names: list[str], right: Collection[str] = ()) -> TokbenchError:
    way = f"import it as {' or '.join(sorted(right))}" if right else "no importer knows that class"
    return TokbenchError(
        f"{path}: its weights have the names of {' and '.join(sorted(names))}, but its configuration is of "
        f"{printable(said, 60)}: {way}"
    )


def _doubt(known: dict[str, Importer], name: str, contents: Contents) -> list[str]:
    """What to tell where names alone decided between sources that share them; TokbenchError where that is too little:
    taming itself keeps no averages, and IBQ keeps LitEma's."""
    others = sorted(other for other, importer in known.items() if importer.like == name)
    if not others:
        return []
    if averages := [prefix for prefix in contents.averages if f"{prefix}decay" in contents.flat]:
        raise TokbenchError(
            f"{contents.path}: {name} and {', '.join(others)} have the same names and different codes, and this file "
            f"has averages ({averages[0].rstrip('.')}), which {name}'s own have not: give its configuration "
            "(--config) or name the source"
        )
    return [f"taken for {name}'s by its names, which {', '.join(others)} shares: give its configuration to be sure"]
