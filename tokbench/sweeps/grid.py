"""From the options of a sweep to its cells: one checked recipe each, addressed by its content."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quantizers
from tokbench.config.address import address_settings, experiment_settings
from tokbench.config.architecture import SETTINGS, Architecture
from tokbench.config.grid import Grid, typed
from tokbench.config.loading import Draft, apply_overrides, draft_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.config.yaml_files import parse_value
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.environment import content_hash
from tokbench.sweeps.budget import Budget
from tokbench.sweeps.pruning import TrialRef
from tokbench.sweeps.settings import SweepSettings
from tokbench.training.checks import check_recipe

_DOWNSAMPLING, _ENCODER = "model.downsampling", "model.architecture"


@dataclass(frozen=True)
class TokenizerCell:
    """One run of a sweep. Equal ``key`` means the same experiment, whatever it is called.

    ``trial``: which trial of a study it is. ``tuning``: what its record says of how its settings were chosen.
    """

    recipe: TokenizerRecipe
    key: str
    label: str
    trial: TrialRef | None = None
    tuning: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        return content_hash(experiment_settings(self.recipe))


def tokenizer_cells(settings: SweepSettings, cpu: bool = False) -> tuple[list[TokenizerCell], list[tuple[str, str]]]:
    """The cells, none twice, and (label, why) of the impossible ones. ``cpu``: a budget's seconds are of the CPU.

    Raises TokbenchError when options contradict each other or no cell is possible.
    """
    for option, given in {"--bits": settings.bits, "--image-bits": settings.image_bits}.items():
        if given and (settings.codebook_size or settings.depth):
            raise TokbenchError(
                f"{option} fixes codebook size and depth: give {option}, or --codebook-size and --depth"
            )
    if settings.bits and settings.image_bits:
        raise TokbenchError("--bits are of a position and --image-bits of all of them: give one of the two")
    common, own = by_quantizer(settings.set)
    base = draft_recipe(settings.recipe, common)
    _check_model_keys(base.values.get("model", {}), settings.encoder)
    budget = Budget.of(settings.budget, Path(settings.out), cpu) if settings.budget is not None else None
    cells: dict[str, TokenizerCell] = {}
    impossible: dict[str, str] = {}
    axes = [_axis(_ENCODER, settings.encoder), _axis("seed", settings.seed)]
    axes += [_axis("data.image_size", list(map(typed, settings.image_size)))]
    axes += [_axis(_DOWNSAMPLING, settings.downsampling), _axis("model.code_channels", settings.code_dim)]
    axes += [_varied(text) for text in settings.vary]
    for values in itertools.product(*axes):
        chosen = {key: value for pair in values for key, value in pair.items()}
        for quantizer, problem in _quantizers(settings, base, chosen):
            label = _label(quantizer, chosen)
            try:
                if problem:
                    raise TokbenchError(problem)
                recipe = _recipe(base, quantizer, chosen, own.get(quantizer.get("name", ""), ()))
                recipe = recipe if budget is None else budget.of_steps(recipe)
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


def _quantizers(settings: SweepSettings, base: Draft, chosen: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Quantizer blocks (name and constructor arguments) to run, with a reason where one is impossible."""
    own = base.values.get("quantizer", {})
    by_bits = [*settings.bits, *settings.image_bits]
    if not (settings.quantizer or settings.codebook_size or settings.depth or by_bits):
        return [(dict(own), "")]
    blocks: list[tuple[dict[str, Any], str]] = []
    # Without a size of its own, every quantizer is compared at the recipe's.
    default = None if by_bits else own.get("codebook_size")
    grid = _grid(base, chosen) if by_bits else None
    for name in dict.fromkeys(settings.quantizer or [own.get("name", "rq")]):
        try:
            has_depth = not {"depth", "groups", "num_quantizers"}.isdisjoint(quantizers.options(name))
        except ValueError as error:
            raise TokbenchError(f"--quantizer {name}: {error}") from None
        sizes: Sequence[int | None] = list(settings.codebook_size) or [default]
        # Depth means nothing to a quantizer with one code per position: it is one cell, not one for each depth.
        depths: Sequence[int | None] = (list(settings.depth) if has_depth else []) or [None]
        varied = {
            key.removeprefix("quantizer."): value for key, value in chosen.items() if key.startswith("quantizer.")
        }
        options = {**_kept(base, name), **varied}
        rates: Sequence[int | None] = by_bits or [None]
        for size, depth, bits in itertools.product(sizes, depths, rates):
            request = {"codebook_size": size, "depth": depth, "bits": bits}
            if settings.image_bits and grid is None:
                blocks.append(({"name": name}, ""))  # its recipe says why
                continue
            try:
                if settings.image_bits and grid is not None:
                    request["bits"] = _of_position(bits or 0, grid)
                found = quantizers.configurations(name, **request, grid=grid, options=options)
                blocks += [({"name": name, **configuration}, "") for configuration in found]
            except ValueError as error:
                given = {key: value for key, value in request.items() if value is not None}
                blocks.append(({"name": name, **given}, str(error)))
    return blocks


def _grid(base: Draft, chosen: dict[str, Any]) -> Grid | None:
    """The latent's grid of these cells; None where there is none, which their recipes then say."""
    try:
        recipe = _drafted(base, {"name": "any"}, chosen).check()
    except TokbenchError:
        return None
    return recipe.model.grid(recipe.data.image_size) if isinstance(recipe, TokenizerRecipe) else None


def _of_position(bits: int, grid: Grid) -> int:
    """Bits an image as bits a position. ValueError where those are not whole."""
    positions = math.prod(grid)
    if bits % positions:
        near = max(1, bits // positions) * positions
        raise ValueError(
            f"{bits} bits an image are no whole number for each of its {positions} positions (e.g. {near})"
        )
    return bits // positions


def _kept(base: Draft, name: str | None) -> dict[str, Any]:
    """Settings of the same quantizer in the recipe (a loss weight, say), which stay unless the grid sets them."""
    own: dict[str, Any] = base.values.get("quantizer", {})
    return own if own.get("name") == name else _given(base)


def _drafted(base: Draft, quantizer: dict[str, Any], chosen: dict[str, Any]) -> Draft:
    draft = copy.deepcopy(base)
    draft.values["quantizer"] = {**_kept(base, quantizer.get("name")), **quantizer}
    for key in quantizer:
        draft.origin.setdefault(f"quantizer.{key}", "sweep")
    for key, value in chosen.items():
        if key == _ENCODER:
            draft.values["model"] = _with_encoder(draft.values.get("model", {}), value)
        elif key == _DOWNSAMPLING:
            draft.values["model"] = _with_downsampling(draft.values.get("model", {}), value)
        else:
            draft.set(key, value, f"sweep {key}={value}")
    return draft


def by_quantizer(given: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """``quantizer.x=1`` of all, and ``lfq:quantizer.x=1`` of one, by its name.

    Raises TokbenchError for an unknown quantizer, and for a key that is not the quantizer's: all train alike.
    """
    common: list[str] = []
    own: dict[str, list[str]] = {}
    for text in given:
        name, colon, key = text.partition("=")[0].rpartition(":")
        if not colon:
            common.append(text)
            continue
        try:
            quantizers.options(name)
        except ValueError as error:
            raise TokbenchError(f"--set {text}: {error}") from None
        if not key.strip().startswith("quantizer."):
            raise TokbenchError(f"--set {text}: of one quantizer only quantizer.KEY is set; all train alike")
        own.setdefault(name, []).append(text.removeprefix(f"{name}:"))
    return common, own


def _recipe(base: Draft, quantizer: dict[str, Any], chosen: dict[str, Any], own: Sequence[str] = ()) -> TokenizerRecipe:
    draft = _drafted(base, quantizer, chosen)
    apply_overrides(draft, own)
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
    fields, own = settings.model_fields, SETTINGS.find(model.get("architecture", "vqgan"))
    # What has the same name need not be the same setting: the other's values are then not its own.
    other = {key for key, field in fields.items() if _type(own, key) not in (None, field.annotation)}
    kept = {key: value for key, value in model.items() if key in fields and key not in other}
    if model.get("architecture") == name:
        return kept
    if _of_patches(settings) and "multipliers" in model:
        kept.setdefault("patch_size", 2 ** (len(model["multipliers"]) - 1))
    elif "patch_size" in model and "multipliers" in settings.model_fields:
        kept = _with_downsampling({**kept, "architecture": name}, model["patch_size"])
    return {**kept, "architecture": name}


def _with_downsampling(model: dict[str, Any], factor: int) -> dict[str, Any]:
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


def _check_model_keys(model: dict[str, Any], encoders: Sequence[str]) -> None:
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
