"""From the options of a sweep to its cells: one checked recipe each, addressed by its content."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quantizers
from tokbench.config.address import address_settings, experiment_settings
from tokbench.config.grid import Grid, typed
from tokbench.config.loading import Draft, apply_overrides, draft_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.config.yaml_files import parse_value
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.sweeps.budget import Budget
from tokbench.sweeps.encoders import check_model_keys, with_downsampling, with_encoder
from tokbench.sweeps.pruning import TrialRef
from tokbench.sweeps.settings import SweepSettings
from tokbench.training.checks import check_recipe

_DOWNSAMPLING, _ENCODER = "model.downsampling", "model.architecture"

Block = tuple[dict[str, Any], str]  # of a quantizer, and why it cannot be; empty: it can


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
    check_model_keys(base.values.get("model", {}), settings.encoder)
    budget = Budget.of(settings.budget, Path(settings.out), cpu) if settings.budget is not None else None
    cells: dict[str, TokenizerCell] = {}
    impossible: dict[str, str] = {}
    axes = [_axis(_ENCODER, settings.encoder), _axis("seed", settings.seed)]
    axes += [_axis("data.image_size", list(map(typed, settings.image_size)))]
    axes += [_axis(_DOWNSAMPLING, settings.downsampling), _axis("model.code_channels", settings.code_dim)]
    axes += [_varied(text) for text in settings.vary]
    for values in itertools.product(*axes):
        chosen = {key: value for pair in values for key, value in pair.items()}
        for quantizer, problem in _quantizers(settings, base, chosen, own):
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


def _quantizers(
    settings: SweepSettings, base: Draft, chosen: dict[str, Any], own: Mapping[str, Sequence[str]]
) -> list[Block]:
    """Quantizer blocks (name and constructor arguments) to run, with a reason where one is impossible. ``own``: what
    is set of one quantizer alone, by its name."""
    recipes = base.values.get("quantizer", {})
    rates: Sequence[int | None] = [*settings.bits, *settings.image_bits]
    if not (settings.quantizer or settings.codebook_size or settings.depth or rates):
        return [(dict(recipes), "")]
    # Without a size of its own, every quantizer is compared at the recipe's.
    sizes: Sequence[int | None] = settings.codebook_size or [None if rates else recipes.get("codebook_size")]
    grid = _grid(base, chosen) if rates else None
    blocks: list[Block] = []
    for name in dict.fromkeys(settings.quantizer or [recipes.get("name", "rq")]):
        # Depth means nothing to a quantizer with one code per position: it is one cell, not one for each depth.
        depths: Sequence[int | None] = (settings.depth if _has_depth(name) else []) or [None]
        options = _options(base, name, chosen, own.get(name, ()))
        for size, depth, bits in itertools.product(sizes, depths, rates or [None]):
            request = {"codebook_size": size, "depth": depth, "bits": bits}
            blocks += _blocks(name, request, grid, options, of_image=bool(settings.image_bits))
    return blocks


def _blocks(
    name: str, request: dict[str, int | None], grid: Grid | None, options: Mapping[str, Any], *, of_image: bool
) -> list[Block]:
    """Those of one quantizer at one point of the grid. ``of_image``: the bits asked for are of a whole image."""
    if of_image and grid is None:
        return [({"name": name}, "")]  # its recipe says why
    try:
        if of_image and grid is not None:
            request = {**request, "bits": _of_position(request["bits"] or 0, grid)}
        found = quantizers.configurations(name, **request, grid=grid, options=options)
    except ValueError as error:
        given = {key: value for key, value in request.items() if value is not None}
        return [({"name": name, **given}, str(error))]
    return [({"name": name, **configuration}, "") for configuration in found]


def _has_depth(name: str) -> bool:
    try:
        return not {"depth", "groups", "num_quantizers"}.isdisjoint(quantizers.options(name))
    except ValueError as error:
        raise TokbenchError(f"--quantizer {name}: {error}") from None


def _options(base: Draft, name: str, chosen: dict[str, Any], own: Sequence[str]) -> dict[str, Any]:
    """What is said of a quantizer beside what the grid says: by the recipe, and by an axis or ``--set`` of its keys."""
    draft = copy.deepcopy(base)
    draft.values["quantizer"] = dict(_kept(base, name))
    for key, value in chosen.items():
        if key.startswith("quantizer."):
            draft.set(key, value, "sweep")
    apply_overrides(draft, own)
    found: dict[str, Any] = draft.values["quantizer"]
    return found


def _grid(base: Draft, chosen: dict[str, Any]) -> Grid | None:
    """The latent's grid of these cells; None where there is none, which their recipes then say."""
    try:
        recipe = _drafted(base, {"name": "any"}, chosen).check()
    except TokbenchError:
        return None
    return recipe.model.grid(recipe.data.image_size) if isinstance(recipe, TokenizerRecipe) else None


def _of_position(bits: int, grid: Grid) -> int:
    """Bits per image as bits per position. ValueError where those are not whole."""
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
            draft.values["model"] = with_encoder(draft.values.get("model", {}), value)
        elif key == _DOWNSAMPLING:
            draft.values["model"] = with_downsampling(draft.values.get("model", {}), value)
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
