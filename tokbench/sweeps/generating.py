"""The second stage of a sweep: for every tokenizer its generators, one checked recipe each, addressed by content."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokbench.codes.soft import need_latents, training_codes
from tokbench.config.address import address_settings
from tokbench.config.condition import CodesConfig, TextConfig, need_classes, partner_of
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.loading import Draft, draft_recipe
from tokbench.config.yaml_files import parse_value
from tokbench.data import open_images
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.generators.base import Generator
from tokbench.generators.building import codes_of, without_weights
from tokbench.generators.window import slide_of
from tokbench.models.tokenizer import Tokenizer, chosen_size
from tokbench.results.environment import content_hash
from tokbench.sweeps.grid import TokenizerCell, reasons
from tokbench.sweeps.settings import SweepSettings
from tokbench.training.checks import check_metrics

KINDS = ("ar", "mlm", "pixelsnail", "var")
# The sweep gives these: a generator's tokenizer, its images and its seed are its cell's.
_GIVEN = {"tokenizer": "", "kind": "", "data": "--set data...", "seed": "--seed", "generator.name": "--generator"}


@dataclass(frozen=True)
class GeneratorCell:
    """A generator on the codes of a tokenizer cell. ``recipe.data`` is what is encoded: the tokenizer's own, or
    the clips of it."""

    recipe: GeneratorRecipe
    key: str
    label: str
    tokenizer: TokenizerCell
    passes: int  # over the training images, into the code cache
    parameters: int
    condition: str = ""  # hash of the weights of the tokenizer whose codes are the condition, where they are
    words: str = ""  # hash of the text's tokenizer, where the condition is texts

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        settings = {k: v for k, v in _settings(self.recipe, self.condition, self.words).items() if k != "seed"}
        return _address(settings, self.tokenizer.experiment, self.passes)

    @property
    def latents(self) -> bool:
        """Whether the code cache keeps latents too."""
        return need_latents(self.recipe.generator)

    @property
    def codes_key(self) -> str:
        """The content address of the code cache, among those of one tokenizer."""
        of: dict[str, Any] = {"condition": self.condition} if self.condition else {}
        of |= {"captions": True} if self.words else {}
        return content_hash({"passes": self.passes, "latents": self.latents, "seed": self.recipe.seed, **of})

    def recorded(self) -> dict[str, Any]:
        """The recipe as the record keeps it: with the tokenizer's settings in place of the folder it lies in."""
        tokenizer = self.tokenizer.recipe.resolved()
        return self.recipe.resolved() | {"tokenizer": tokenizer, "encoding": {"passes": self.passes}}


def generator_cells(
    settings: SweepSettings, tokenizers: Sequence[TokenizerCell]
) -> tuple[list[GeneratorCell], list[tuple[str, str]]]:
    """The cells, and (label, why) of the impossible ones.

    Raises TokbenchError for an unknown kind, a recipe of another kind, or a setting that is not the generator's.
    """
    drafts = {kind: _draft(settings, kind) for kind in _kinds(settings)}
    cells: dict[str, GeneratorCell] = {}
    impossible: dict[str, str] = {}
    classes: dict[str, int] = {}
    others: dict[str, Tokenizer] = {}
    for tokenizer in tokenizers:
        for kind, draft in drafts.items():
            label = f"{kind} on {tokenizer.label}"
            try:
                cell = _cell(draft, tokenizer, label, settings.encode_passes, classes, others)
            except TokbenchError as error:
                impossible.setdefault(label, str(error))
                continue
            cells.setdefault(cell.key, cell)
    if drafts and not cells:
        raise TokbenchError(f"no generator of this sweep is possible: {reasons(impossible)}")
    return list(cells.values()), list(impossible.items())


def _kinds(settings: SweepSettings) -> list[str]:
    for kind in settings.generator:
        if kind not in KINDS:
            raise TokbenchError(f"--generator {kind}: unknown kind of generator{did_you_mean(kind, KINDS)}")
    if not settings.generator and (settings.generator_recipe or settings.set_generator):
        raise TokbenchError("--generator-recipe and --set-generator need --generator: ar, mlm or both")
    return list(dict.fromkeys(settings.generator))


def _draft(settings: SweepSettings, kind: str) -> Draft:
    name = "generators/demo-{generator}"
    for text in settings.generator_recipe:
        of, equals, rest = text.partition("=")
        if equals and of not in KINDS:
            raise TokbenchError(f"--generator-recipe {text}: {of!r} is not a kind of generator: ar=NAME or mlm=NAME")
        if not equals or of == kind:
            name = rest if equals else text
    name = name.replace("{generator}", kind)
    draft = draft_recipe(name)
    found = draft.values.get("generator", {}).get("name") if draft.values.get("kind") == "generator" else None
    if found != kind:
        what = f"of {found}" if found else "no generator's"
        raise TokbenchError(
            f"--generator {kind}: the recipe {name} is {what}; give each kind its own: --generator-recipe {kind}=NAME"
        )
    for text in settings.set_generator:
        _override(draft, kind, text)
    return draft


def _cell(
    base: Draft,
    tokenizer: TokenizerCell,
    label: str,
    passes: int,
    classes: dict[str, int],
    others: dict[str, Tokenizer],
) -> GeneratorCell:
    draft = copy.deepcopy(base)
    beside = {"images", "images_share"}  # of clips: what the tokenizer was trained on too
    draft.values |= {
        "tokenizer": f"cells/{tokenizer.key}/tokenizer",
        "data": tokenizer.recipe.data.model_dump(mode="json", exclude=beside),
        "seed": tokenizer.recipe.seed,
    }
    recipe = draft.check()
    assert isinstance(recipe, GeneratorRecipe)
    check_metrics(recipe)
    condition = _condition(recipe, others)
    made = _made(recipe, tokenizer, condition)
    if recipe.generator.class_conditional:
        need_classes(True, _classes(recipe, classes), recipe.data.source)
    weights = condition.tokenizer.sha256 if condition is not None and condition.tokenizer is not None else ""
    texts = made.config.conditioned_on
    words = content_hash(texts.tokenizer) if isinstance(texts, TextConfig) else ""
    key = _address(_settings(recipe, weights, words), tokenizer.key, passes)
    parameters = sum(p.numel() for p in made.parameters())
    return GeneratorCell(recipe, key, label, tokenizer, passes, parameters, weights, words)


def _settings(recipe: GeneratorRecipe, condition: str, words: str) -> dict[str, Any]:
    """What decides the result: the tokenizer of the condition by its weights or its definition, wherever it lies."""
    settings = address_settings(recipe)
    if condition:
        settings["condition"] = {**settings["condition"], "tokenizer": condition}
    if words:
        text = {**settings["generator"]["text"], "tokenizer": words}
        settings["generator"] = {**settings["generator"], "text": text}
    return settings


def _address(settings: dict[str, Any], tokenizer: str, passes: int) -> str:
    return content_hash({"recipe": settings | {"tokenizer": tokenizer}, "passes": passes})


def _override(draft: Draft, kind: str, text: str) -> None:
    key, equals, value = text.partition("=")
    of, colon, rest = key.strip().rpartition(":")
    if not equals or not all(rest.split(".")) or (colon and of not in KINDS):
        raise TokbenchError(
            f"--set-generator {text}: expected KEY=VALUE, e.g. training.steps=2000, or KIND:KEY=VALUE, "
            "e.g. ar:generator.depth_layers=2"
        )
    for given, instead in _GIVEN.items():
        if rest == given or rest.startswith(f"{given}."):
            hint = f": use {instead}" if instead else ""
            raise TokbenchError(f"--set-generator {text}: the sweep gives every generator its {given}{hint}")
    if not colon or of == kind:
        draft.set(rest, parse_value(value), f"--set-generator {text}")


def _condition(recipe: GeneratorRecipe, known: dict[str, Tokenizer]) -> CodesConfig | None:
    """The codes that stand first, of what the images are paired with; None where the recipe has no such condition."""
    settings, partner = recipe.condition, partner_of(recipe.data.source)[1]
    if settings is not None and settings.coordinates:
        raise TokbenchError("condition.coordinates: a sweep keeps codes and not where crops lie: use tokbench train")
    if settings is None or partner is None:
        return None
    source = settings.tokenizer
    if source not in known:
        known[source] = Tokenizer.from_pretrained(source)
    asked: Any = {"source": source, "dropout": settings.dropout, "read": settings.read}
    return codes_of(known[source], partner, image_size=recipe.data.image_size, **asked)


def _made(recipe: GeneratorRecipe, cell: TokenizerCell, condition: CodesConfig | None) -> Generator:
    """The generator without weights: what it cannot do with these codes is said before any training."""
    config, settings = cell.recipe.tokenizer, recipe.generator
    tokenizer, made = without_weights(
        settings, config, source=recipe.tokenizer, image_size=config.image_size, conditioned_on=condition
    )
    training_codes(tokenizer, settings)
    if recipe.evaluation.size is not None:
        slide_of(made.config, tokenizer.grid(chosen_size(tokenizer, recipe.evaluation.size, "evaluation.size")))
    return made


def _classes(recipe: GeneratorRecipe, known: dict[str, int]) -> int:
    data = recipe.data
    if data.source not in known:
        known[data.source] = len(open_images(data.source, "train", image_size=data.image_size).classes)
    return known[data.source]
