"""``train --dry-run``: all that training would refuse, asked beforehand; nothing is written and nothing fetched."""

from __future__ import annotations

from pathlib import Path

import torch

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.models import Tokenizer
from tokbench.models.folder import is_hub_name
from tokbench.models.inflation import start_from
from tokbench.models.tokenizer import chosen_size
from tokbench.results.targets import check_allowed
from tokbench.training.checks import check_data, check_weights, without_value
from tokbench.training.fitting import micro_batch_of
from tokbench.training.generator_data import CodeData
from tokbench.training.launch import make_accelerator
from tokbench.training.run_folder import check_folder
from tokbench.training.tracking import check_trackers


def check_run(recipe: Recipe, out: Path, *, resume: bool = False, cpu: bool = False) -> list[str]:
    """What there is to say of a run that would begin; the recipe has passed ``check_recipe``.

    Raises TokbenchError for a folder that is taken or cannot be written, a tracker that is not installed, a precision
    that the device lacks, a batch that does not split, weights that a loss lacks, data that is missing, too little,
    unreadable or without the labels asked for, codes of another tokenizer, a tokenizer that is missing or does not fit.
    """
    check_folder(out, recipe, resume=resume)
    check_allowed(out / "recipe.yaml")
    check_trackers(recipe.training.trackers)
    micro_batch_of(recipe, make_accelerator(recipe, cpu))
    check_weights(recipe)
    lines = [check_data(recipe)]
    if isinstance(recipe, GeneratorRecipe):
        lines += _check_tokenizer(recipe)
    elif recipe.start_from is not None:
        lines += _check_start(recipe, recipe.start_from)
    return lines + without_value(recipe)


def _check_start(recipe: TokenizerRecipe, source: str) -> list[str]:
    if is_hub_name(source):
        return [f"start_from {source}: no folder here, taken for a hub repository and not opened"]
    return start_from(Tokenizer(recipe.tokenizer), source)


def _check_tokenizer(recipe: GeneratorRecipe) -> list[str]:
    if is_hub_name(recipe.tokenizer):
        return [f"tokenizer {recipe.tokenizer}: no folder here, taken for a hub repository and not opened"]
    tokenizer = Tokenizer.from_pretrained(recipe.tokenizer)
    chosen_size(tokenizer, recipe.data.image_size, f"{recipe.tokenizer}: data.image_size")
    if recipe.data.source.startswith("hub:") or "://" in recipe.data.source:
        return []
    CodeData(recipe, tokenizer, torch.device("cpu")).generator(meta=True)
    return []
