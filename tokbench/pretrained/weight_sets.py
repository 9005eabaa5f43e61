"""Which tensors of a foreign file are the model's: however they are nested and prefixed, live ones and averages.

A file is read as one flat table, ``state_dict.model.encoder.conv_in.weight``, and the model is what stands behind a
prefix where an importer knows the names. So a bare state dict, Lightning's ``state_dict`` with its ``model.``,
DeepSpeed's ``module`` and one dictionary for the encoder beside one for the decoder are all the same to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tokbench.errors import TokbenchError, printable

Weights = Literal["auto", "live", "ema"]
Recognises = Callable[[Collection[str]], bool]

_DEEPEST, _LONGEST_PREFIX = 6, 6
_NONE = ("\0",)  # a prefix that no name has
# What DistributedDataParallel, torch.compile, FSDP, activation checkpointing and Lightning's DeepSpeed put into names.
_WRAPPERS = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)(?:\.|$|(?=[a-z]))"
_DISTRIBUTED = r"(?:^|(?<=\.))module\."
# ema, model_ema, ema_model, state_dict_ema, params_ema, EMA, averaged_model, shadow_params ...
_AVERAGE = re.compile(r"(?:^|[^a-z])ema(?:[^a-z]|$)|averag|shadow", re.IGNORECASE)
# Buffers, which averages of parameters leave out and the official code takes from the live model.
_BUFFER = re.compile(r"(running_mean|running_var|num_batches_tracked|cluster_size\w*|embed_(avg|ema)|codebook_used)$")


@dataclass(frozen=True)
class WeightSet:
    """One set of a model's weights in a file.

    Args:
        prefix: what stood before the names, nesting included: "state_dict.model."; empty for a bare state dict.
        kind: whether training wrote to it, or it is a moving average of what training wrote.
        tensors: official name -> tensor, in the order of the file.
    """

    prefix: str
    kind: Literal["live", "EMA"]
    tensors: dict[str, Tensor]

    @property
    def place(self) -> str:
        return printable(self.prefix.rstrip("."), 80) or "the file itself"


@dataclass(frozen=True)
class Chosen:
    """The set that is imported, and what the file has beside it."""

    weights: WeightSet
    other: WeightSet | None  # the set of the other kind, which was not taken
    beside: list[str]  # tensors of the same part of the file that belong to neither
    entries: list[str]  # the other parts of the file

    @property
    def summary(self) -> str:
        return f"{self.weights.place} ({self.weights.kind})"

    @property
    def notes(self) -> list[str]:
        if self.other is None or self.other.kind == "live":
            return []
        return [f"the file also has EMA weights ({self.other.place}), which were not used; --weights ema takes them"]


class Contents:
    """A foreign file as one flat table of tensors.

    Raises:
        TokbenchError: two different tensors whose names are the same without the parts that wrappers put in.
    """

    def __init__(self, content: dict[str, Any], path: str) -> None:
        self.content, self.path = content, path
        self.flat: dict[str, Tensor] = {}
        for name, tensor in _walk(content, "", 0):
            if name in self.flat and not _equal(self.flat[name], tensor):
                raise TokbenchError(
                    f"{path}: two different tensors are called {printable(name, 100)} once wrappers' parts (module, "
                    "_orig_mod) are taken off their names; keep the set that is meant"
                )
            self.flat[name] = tensor
        self.groups = _by_prefix(self.flat)
        self.averages = _outermost([prefix for prefix in self.groups if _AVERAGE.search(prefix)])

    def sets(self, recognises: Recognises) -> list[WeightSet]:
        """Every set of weights whose names ``recognises`` knows; the same tensors twice count once."""
        found: list[WeightSet] = []
        for prefix, members in self.groups.items():
            if recognises(members):
                inner = tuple(a for a in self.averages if a.startswith(prefix) and a != prefix) or _NONE
                own = {name: self.flat[prefix + name] for name in members if not (prefix + name).startswith(inner)}
                kind: Literal["live", "EMA"] = "EMA" if _AVERAGE.search(prefix) else "live"
                same = any(one.kind == kind and _same(own, one.tensors) for one in found)
                if recognises(own) and not same and not _part(prefix, found, recognises):
                    found.append(WeightSet(prefix, kind, own))
        for live in [one for one in found if one.kind == "live"]:
            for prefix in [prefix for prefix in self.groups if _AVERAGE.search(prefix)]:
                copies = self._without_names(live, prefix)
                if recognises(copies) and not any(_same(copies, one.tensors) for one in found if one.kind == "EMA"):
                    found.append(WeightSet(prefix, "EMA", copies))
        return found

    def choose(self, recognises: Recognises, weights: Weights, evaluates: Literal["live", "ema"]) -> Chosen:
        """The set asked for; ``auto`` is the one that the official code ``evaluates``, else the one there is.

        Raises:
            TokbenchError: no set of that kind, or several of it, and the file does not say which is meant.
        """
        by_kind: dict[str, list[WeightSet]] = {"live": [], "EMA": []}
        for one in self.sets(recognises):
            by_kind[one.kind].append(one)
        first = evaluates if weights == "auto" else weights
        wanted, spare = ("EMA", "live") if first == "ema" else ("live", "EMA")
        if weights == "auto" and not by_kind[wanted]:
            wanted, spare = spare, wanted
        if not by_kind[wanted]:
            has = f"only {spare} weights ({by_kind[spare][0].place})" if by_kind[spare] else "no whole model"
            if wanted == "EMA" and self.averages:
                has += f"; what {self.averages[0].rstrip('.')} holds does not go with them"
            raise TokbenchError(f"{self.path}: {wanted} weights were asked for, and the file has {has}")
        chosen, *more = by_kind[wanted]
        if more:
            places = ", ".join(one.place for one in [chosen, *more[:3]])
            raise TokbenchError(
                f"{self.path}: {len(more) + 1} different sets of {wanted} weights ({places}); keep the one you mean"
            )
        empty = sum(not tensor.numel() for tensor in chosen.tensors.values())
        if empty > len(chosen.tensors) // 2:
            raise TokbenchError(
                f"{self.path}: {empty} of {len(chosen.tensors)} weights are empty: one process's share under ZeRO-3 or "
                "FSDP; gather them into one file first"
            )
        return self._beside(chosen, next(iter(by_kind[spare]), None))

    def _beside(self, chosen: WeightSet, other: WeightSet | None) -> Chosen:
        """``chosen`` with what the file has beside it."""
        heads = [f"{key}." for key, value in self.content.items() if not isinstance(value, Tensor)]
        home = next((head for head in heads if chosen.prefix.startswith(head)), "")
        taken = {one.prefix + name for one in (chosen, other) if one for name in one.tensors}
        averages = tuple(self.averages) or _NONE
        beside = [
            name.removeprefix(home)
            for name in self.flat
            if name.startswith(home) and name not in taken and not name.startswith(averages)
        ]
        entries = sorted(printable(str(key), 40) for key in self.content if home and f"{key}." != home)
        return Chosen(chosen, other, beside, entries)

    def _without_names(self, live: WeightSet, prefix: str) -> dict[str, Tensor]:
        """The averages behind ``prefix`` by the live names, where they are kept without them.

        LitEma (latent-diffusion, SEED-Voken) takes the dots out of the names, counted from the model or from a module
        around it; diffusers' and torch-ema's ``shadow_params`` is a list in the order of the parameters.
        """
        members = self.groups[prefix]
        copies: dict[str, Tensor] = {}
        if all(name.isdigit() for name in members):
            tensors = [self.flat[prefix + name] for name in members]
            names = [name for name in live.tensors if not _BUFFER.search(name)]
            if [live.tensors[name].shape for name in names] == [tensor.shape for tensor in tensors]:
                copies = dict(zip(names, tensors, strict=True))
        else:
            parts = live.prefix.split(".")
            for start in range(len(parts)):
                dotless = {name: "".join(parts[start:]) + name.replace(".", "") for name in live.tensors}
                copies = copies or {n: self.flat[prefix + d] for n, d in dotless.items() if d in members}
        if copies:
            copies = {name: tensor for name, tensor in live.tensors.items() if _BUFFER.search(name)} | copies
        return {name: copies[name] for name in live.tensors if name in copies}


def _part(prefix: str, found: list[WeightSet], recognises: Recognises) -> bool:
    """Whether what stands behind ``prefix`` is a part of one of the sets: without it, that would be none."""
    for one in found:
        inner = prefix.removeprefix(one.prefix)
        if prefix.startswith(one.prefix) and not recognises([n for n in one.tensors if not n.startswith(inner)]):
            return True
    return False


def _walk(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by its full name, the wrappers' parts taken off; parts of the file keep theirs."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, Tensor):
            yield prefix + re.sub(_DISTRIBUTED, "", re.sub(_WRAPPERS, "", str(key))), inner
        elif depth < _DEEPEST and isinstance(inner, (dict, list)):
            yield from _walk(inner, f"{prefix}{key}.", depth + 1)


def _by_prefix(flat: dict[str, Tensor]) -> dict[str, dict[str, None]]:
    """Prefix that ends at a dot, the empty one included -> the names behind it, in order; the shortest first."""
    groups: dict[str, dict[str, None]] = {"": dict.fromkeys(flat)}
    for name in flat:
        end = -1
        for _ in range(_LONGEST_PREFIX):
            end = name.find(".", end + 1)
            if end < 0:
                break
            groups.setdefault(name[: end + 1], {})[name[end + 1 :]] = None
    return dict(sorted(groups.items(), key=lambda item: item[0].count(".")))


def _outermost(prefixes: list[str]) -> list[str]:
    kept: list[str] = []
    for prefix in prefixes:  # the shortest come first
        if not prefix.startswith(tuple(kept) or _NONE):
            kept.append(prefix)
    return kept


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
