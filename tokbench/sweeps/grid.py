"""From the options of a sweep to its cells: one checked recipe each, addressed by its content."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import quantizers
from tokbench.config.address import address_settings
from tokbench.config.architecture import SETTINGS
from tokbench.config.grid import typed
from tokbench.config.loading import Draft, draft_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.config.yaml_files import parse_value
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.environment import content_hash
from tokbench.sweeps.settings import SweepSettings
from tokbench.training.checks import check_recipe

_DOWNSAMPLING, _ENCODER = "model.downsampling", "model.architecture"


@dataclass(frozen=True)
class TokenizerCell:
    """One run of a sweep. Equal ``key`` means the same experiment, whatever it is called."""

    recipe: TokenizerRecipe
    key: str
    label: str

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        return content_hash({k: v for k, v in address_settings(self.recipe).items() if k != "seed"})


def tokenizer_cells(settings: SweepSettings) -> tuple[list[TokenizerCell], list[tuple[str, str]]]:
    """The cells, none twice, and (label, why) of the impossible ones.

    Raises TokbenchError when options contradict each other or no cell is possible.
    """
    if settings.bits and (settings.codebook_size or settings.depth):
        raise TokbenchError("--bits fixes codebook size and depth: give --bits, or --codebook-size and --depth")
    base = draft_recipe(settings.recipe, settings.set)
    cells: dict[str, TokenizerCell] = {}
    impossible: dict[str, str] = {}
    axes = [_axis(_ENCODER, settings.encoder), _axis("seed", settings.seed)]
    axes += [_axis("data.image_size", list(map(typed, settings.image_size)))]
    axes += [_axis(_DOWNSAMPLING, settings.downsampling), _axis("model.code_channels", settings.code_dim)]
    axes += [_varied(text) for text in settings.vary]
    for values, (quantizer, problem) in itertools.product(itertools.product(*axes), _quantizers(settings, base)):
        chosen = {key: value for pair in values for key, value in pair.items()}
        label = _label(quantizer, chosen)
        try:
            if problem:
                raise TokbenchError(problem)
            recipe = _recipe(base, quantizer, chosen)
        except TokbenchError as error:
            impossible.setdefault(label, str(error))
            continue
        key = cell_key(recipe)
        cells.setdefault(key, TokenizerCell(recipe, key, label))
    if not cells:
        raise TokbenchError(f"no cell of this sweep is possible: {reasons(impossible)}")
    return list(cells.values()), list(impossible.items())


def _axis(key: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    return [{key: value} for value in dict.fromkeys(values)] or [{}]


def _varied(text: str) -> list[dict[str, Any]]:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise TokbenchError(f"--vary {text}: expected key=value,value,..., e.g. training.learning_rate=1e-4,1e-3")
    parsed = parse_value(f"[{values}]")
    return [{key.strip(): value} for value in parsed]


def _quantizers(settings: SweepSettings, base: Draft) -> list[tuple[dict[str, Any], str]]:
    """Quantizer blocks (name and constructor arguments) to run, with a reason where one is impossible."""
    own = base.values.get("quantizer", {})
    if not (settings.quantizer or settings.codebook_size or settings.depth or settings.bits):
        return [(dict(own), "")]
    blocks: list[tuple[dict[str, Any], str]] = []
    # Without a size of its own, every quantizer is compared at the recipe's.
    default = None if settings.bits else own.get("codebook_size")
    for name in dict.fromkeys(settings.quantizer or [own.get("name", "rq")]):
        try:
            has_depth = not {"depth", "groups", "num_quantizers"}.isdisjoint(quantizers.options(name))
        except ValueError as error:
            raise TokbenchError(f"--quantizer {name}: {error}") from None
        sizes: Sequence[int | None] = list(settings.codebook_size) or [default]
        # Depth means nothing to a quantizer with one code per position: it is one cell, not one for each depth.
        depths: Sequence[int | None] = (list(settings.depth) if has_depth else []) or [None]
        bits: Sequence[int | None] = list(settings.bits) or [None]
        for size, depth, bit in itertools.product(sizes, depths, bits):
            request = {"codebook_size": size, "depth": depth, "bits": bit}
            try:
                found = quantizers.configurations(name, **request)
                blocks += [({"name": name, **configuration}, "") for configuration in found]
            except ValueError as error:
                given = {key: value for key, value in request.items() if value is not None}
                blocks.append(({"name": name, **given}, str(error)))
    return blocks


def _recipe(base: Draft, quantizer: dict[str, Any], chosen: dict[str, Any]) -> TokenizerRecipe:
    draft = copy.deepcopy(base)
    own = draft.values.get("quantizer", {})
    # Settings of the same quantizer in the recipe (a loss weight, say) stay unless the grid sets them.
    kept = own if own.get("name") == quantizer.get("name") else _given(base)
    draft.values["quantizer"] = {**kept, **quantizer}
    for key in quantizer:
        draft.origin.setdefault(f"quantizer.{key}", "sweep")
    for key, value in chosen.items():
        if key == _ENCODER:
            draft.values["model"] = _with_encoder(draft.values.get("model", {}), value)
        elif key == _DOWNSAMPLING:
            draft.values["model"] = _with_downsampling(draft.values.get("model", {}), value)
        else:
            draft.set(key, value, f"sweep {key}={value}")
    recipe = draft.check()
    if not isinstance(recipe, TokenizerRecipe):
        raise TokbenchError(f"{draft.where('kind')}: a sweep is over tokenizers; this recipe's kind is {recipe.kind}")
    factor, model = chosen.get(_DOWNSAMPLING), recipe.model
    if factor is not None and model.factors[-2:] != (factor, factor):
        raise TokbenchError(
            f"--downsampling {factor}: the other settings of {model.architecture} keep it at {model.reduction}; "
            "--vary those instead"
        )
    check_recipe(recipe, draft.where("quantizer"))
    return recipe


def _given(base: Draft) -> dict[str, Any]:
    """What ``--set quantizer.x=`` asks of every quantizer of the grid, whatever the recipe's own is."""
    own = base.values.get("quantizer", {})
    given = [key for key in own if base.origin.get(f"quantizer.{key}", "").startswith("--set")]
    return {key: own[key] for key in given if key != "name"}


def reasons(impossible: dict[str, str]) -> str:
    """Each reason once, with the cells (by label) it holds for."""
    labels: dict[str, list[str]] = {}
    for label, why in impossible.items():
        labels.setdefault(why, []).append(label)
    shown = {why: ", ".join(of[:3]) + (f" and {len(of) - 3} more" if len(of) > 3 else "") for why, of in labels.items()}
    return "; ".join(f"{of}: {why}" for why, of in shown.items())


def cell_key(recipe: TokenizerRecipe) -> str:
    """The content address of a run: every setting that decides its result and is not the schema's default."""
    return content_hash(address_settings(recipe))


def _label(quantizer: dict[str, Any], chosen: dict[str, Any]) -> str:
    short = {"codebook_size": "K", "depth": "D"}
    rest = [f"{short.get(key, key)}={value}" for key, value in quantizer.items() if key != "name"]
    rest += [f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items()]
    return " ".join([str(quantizer.get("name", "?")), *rest])


def _with_encoder(model: dict[str, Any], name: str) -> dict[str, Any]:
    """The model block for another architecture: settings that it has too stay, so that sizes compare."""
    if (settings := SETTINGS.find(name)) is None:
        raise TokbenchError(f"--encoder {name}: unknown architecture{did_you_mean(name, SETTINGS)}")
    if model.get("architecture") == name:
        return model
    kept = {key: value for key, value in model.items() if key in settings.model_fields}
    if name == "vit" and "multipliers" in model:
        kept.setdefault("patch_size", 2 ** (len(model["multipliers"]) - 1))
    elif "patch_size" in model and "multipliers" in settings.model_fields:
        kept = _with_downsampling({**kept, "architecture": name}, model["patch_size"])
    return {**kept, "architecture": name}


def _with_downsampling(model: dict[str, Any], factor: int) -> dict[str, Any]:
    """The model block with levels taken away or the last one repeated until one code covers factor x factor."""
    if model.get("architecture") == "vit":
        return {**model, "patch_size": factor}
    name = model.get("architecture", "vqgan")
    if (settings := SETTINGS.find(name)) is not None and "multipliers" not in settings.model_fields:
        raise TokbenchError(f"--downsampling {factor}: {name} has no levels; --vary its own keys")
    levels = factor.bit_length()
    if factor < 1 or factor != 1 << (levels - 1):
        raise TokbenchError(f"downsampling {factor} is not a power of two")
    given = list(model.get("multipliers") or [1, 1, 2, 2, 4])
    return {**model, "multipliers": (given + given[-1:] * levels)[:levels]}
