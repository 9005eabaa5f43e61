"""What an importer is, of tokenizers or of generators, and the registry of them: one file per source in this folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError, printable
from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.registry import Registry

from .checkpoint import model_class
from .names import Layout
from .weight_sets import Contents, Weights

__all__ = [
    "GeneratorImporter",
    "GeneratorPlan",
    "IMPORTERS",
    "Importer",
    "TokenizerPlan",
    "Weights",
    "choose",
    "register",
]


@dataclass
class TokenizerPlan:
    """A checkpoint read: the configuration of the tokenizer it makes and where every tensor goes."""

    config: TokenizerConfig
    tensors: dict[str, Tensor]  # our name -> tensor, for encoder and decoder
    codebook: dict[str, Tensor]  # for ``fill_codebook``: "codebook", and "cluster_size", "embed_sum" where given
    layout: Layout
    ignored: dict[str, list[str]] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    levels: int | None = None  # that ``layout`` counts, where they are not the model's multipliers


@dataclass(frozen=True)
class Importer:
    """A source of published tokenizers.

    Args:
        recognises: whether weights of these official names are of this source.
        read: (official name -> tensor, configuration as plain data, path) -> plan.
        evaluates: the weights that the official code evaluates, where a file has live ones and averages.
        classes: the model classes that a configuration of this source may name; empty: any.
        like: a source whose names are the same, and whose codes are not. Names alone then mean that one.
        generator: of the same source, where it has both.
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    read: Callable[[dict[str, Tensor], dict[str, Any], str], TokenizerPlan]
    evaluates: Literal["live", "ema"] = "live"
    classes: tuple[str, ...] = ()
    like: str = ""
    generator: GeneratorImporter | None = None


@dataclass
class GeneratorPlan:
    """A generator's checkpoint read: the generator it makes, its weights not filled in, and where every tensor goes."""

    model: Generator
    tensors: dict[str, Tensor]  # our name -> tensor
    ignored: dict[str, list[str]] = field(default_factory=dict)
    condition_tokenizer: Tokenizer | None = None  # where the condition is codes of one, which the file holds


@dataclass(frozen=True)
class GeneratorImporter:
    """A source of published generators.

    Args:
        recognises: whether weights of these official names are of this source.
        read: (official name -> tensor, configuration as plain data, the tokenizer whose codes it models, where that
            lies, path) -> plan.
        tokenizer: (official name -> tensor, configuration, path) -> the tokenizer that lies in the same file, if any.
        alone: whether ``read`` can do without a tokenizer (None).
    """

    name: str
    recognises: Callable[[Collection[str]], bool]
    read: Callable[[dict[str, Tensor], dict[str, Any], Any, str, str], GeneratorPlan]
    tokenizer: Callable[[dict[str, Tensor], dict[str, Any], str], Tokenizer | None] = lambda *_: None
    alone: bool = False


OURS = "encoder.stem.weight"  # a name that no official layout has

IMPORTERS: Registry[Importer | GeneratorImporter] = Registry("source", "tokbench.pretrained")


def register(importer: Importer | GeneratorImporter) -> None:
    """Make ``importer`` known by its name; a name taken twice is an error."""
    IMPORTERS.add(importer.name, importer)


def of_tokenizers() -> dict[str, Importer]:
    """The importers of tokenizers by name."""
    every = ((name, IMPORTERS.get(name)) for name in IMPORTERS)
    return {name: importer for name, importer in every if isinstance(importer, Importer)}


def of_generators() -> dict[str, GeneratorImporter]:
    """The importers of generators by name."""
    every = ((name, IMPORTERS.get(name)) for name in IMPORTERS)
    both = ((name, each.generator if isinstance(each, Importer) else each) for name, each in every)
    return {name: importer for name, importer in both if importer is not None}


def choose(source: str | None, contents: Contents, config: dict[str, Any]) -> tuple[Importer, list[str]]:
    """The importer asked for, or the one whose layout the file has; with what is to be told about the choice.

    Raises:
        TokbenchError: none fits, several do, or what was asked for is not what file and configuration are.
    """
    known, path, said = of_tokenizers(), contents.path, model_class(config)
    fits = [name for name, importer in known.items() if contents.sets(importer.recognises)]
    by_class = [name for name in fits if not known[name].classes or said in known[name].classes]
    if source is None or source == "auto":
        if not fits:
            if (of := next((g for g in of_generators().values() if contents.sets(g.recognises)), None)) is not None:
                raise of_codes(of.name, path)
            raise _unknown_layout(contents, known)
        if said and not by_class:
            raise _of_another_class(path, said, fits)
        fits = by_class if said else fits
        fits = [name for name in fits if not known[name].like] or fits
        if len(fits) > 1:
            raise TokbenchError(f"{path}: could be {' or '.join(sorted(fits))}; name the one that it is")
        return known[fits[0]], _doubt(known, fits[0], contents) if not said else []
    name = _plain(source)
    if name not in known:
        IMPORTERS.get(name)
        raise of_codes(name, path)
    if name not in fits:
        raise _another_layout(contents, name, sorted(fits, key=lambda one: bool(known[one].like)))
    if said and name not in by_class:
        raise _of_another_class(path, said, [name], by_class)
    return known[name], []


def choose_generator(source: str | None, contents: Contents) -> GeneratorImporter:
    """The importer asked for, or the one whose layout the file has. TokbenchError where there is none."""
    known = of_generators()
    fits = [name for name, importer in known.items() if contents.sets(importer.recognises)]
    if source is None or source == "auto":
        if not fits:
            raise _unknown_layout(contents, known)
        if len(fits) > 1:
            raise TokbenchError(f"{contents.path}: could be {' or '.join(fits)}; name the one that it is")
        return known[fits[0]]
    name = _plain(source)
    if name not in known:
        IMPORTERS.get(name)
        raise TokbenchError(f"--tokenizer belongs to generators ({', '.join(known)}), not to {name}")
    if name not in fits:
        raise _another_layout(contents, name, fits)
    return known[name]


def _plain(source: str) -> str:
    return source.replace("_", "-").lower()


def _first_weights(contents: Contents) -> str:
    return ", ".join(printable(name, 60) for name in sorted(contents.flat)[:5]) or "none"


def _unknown_layout(contents: Contents, known: Collection[str]) -> TokbenchError:
    seen = _first_weights(contents)
    if OURS in contents.flat:
        return TokbenchError(f"{contents.path}: it is a tokenizer of tokbench's: its folder is used as it is")
    return TokbenchError(f"{contents.path}: no known layout ({', '.join(sorted(known))}); its first weights: {seen}")


def of_codes(name: str, path: str) -> TokbenchError:
    return TokbenchError(
        f"{path}: {name} models the codes of a tokenizer: import that first and give it as --tokenizer"
    )


def _another_layout(contents: Contents, name: str, fits: list[str]) -> TokbenchError:
    looks = f"; it looks like {fits[0]}" if fits else ""
    seen = _first_weights(contents)
    return TokbenchError(f"{contents.path}: not a checkpoint in the layout of {name}{looks}; its first weights: {seen}")


def _of_another_class(path: str, said: str, names: list[str], right: Collection[str] = ()) -> TokbenchError:
    way = f"import it as {' or '.join(sorted(right))}" if right else "no importer knows that class"
    return TokbenchError(
        f"{path}: its weights have the names of {' and '.join(sorted(names))}, but its configuration is of "
        f"{printable(said, 60)}: {way}"
    )


def _doubt(known: dict[str, Importer], name: str, contents: Contents) -> list[str]:
    """What to tell where names alone decided between sources that share them; TokbenchError where that is too little:
    taming itself keeps no averages, and IBQ keeps LitEma's."""
    likes = {other: importer for other, importer in known.items() if importer.like == name}
    others = sorted(other for other, importer in likes.items() if contents.sets(importer.recognises))
    if not others:
        return []
    averages = [prefix for prefix in contents.averages if f"{prefix}decay" in contents.flat]
    if averages and known[name].evaluates == "live":
        raise TokbenchError(
            f"{contents.path}: {name} and {', '.join(others)} have the same names and different codes, and this file "
            f"has averages ({averages[0].rstrip('.')}), which {name}'s own have not: give its configuration "
            "(--config) or name the source"
        )
    return [f"taken for {name}'s by its names, which {', '.join(others)} shares: give its configuration to be sure"]
