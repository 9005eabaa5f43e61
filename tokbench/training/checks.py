"""What only the quantizer, the architecture and the data themselves can say about a recipe."""

from __future__ import annotations

import torch

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import Recipe
from tokbench.data import open_split
from tokbench.data.codes import CodeCache
from tokbench.errors import TokbenchError, printable
from tokbench.models import Tokenizer
from tokbench.models.discriminator import build_discriminator


def check_recipe(recipe: Recipe, source: str = "recipe") -> int:
    """Build the model on the meta device (no memory, no time) and return its number of parameters.

    Of a generator whose tokenizer is not there yet, only the transformer's: the tokenizer decides the rest.

    Raises TokbenchError naming ``source`` when the combination is impossible: LFQ with a codebook that is no
    power of two, an unknown quantizer argument, a discriminator too deep for the pictures.
    """
    if isinstance(recipe, GeneratorRecipe):
        from tokbench.training.generator_task import count_parameters

        return count_parameters(recipe)
    config = TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
    try:
        with torch.device("meta"):
            tokenizer = Tokenizer(config)
            if recipe.loss.adversarial is not None:
                build_discriminator(recipe.loss.adversarial.discriminator, recipe.data.image_size)
    except (ValueError, TokbenchError, RuntimeError, OverflowError, TypeError, ZeroDivisionError) as error:
        raise TokbenchError(f"{source}: {printable(str(error), 300)}") from None  # some of them are torch's
    return tokenizer.parameter_count


def check_data(recipe: Recipe) -> str:
    """Open both splits of the recipe's data, without reading pictures, and say what is there.

    What lies on a hub or at an address is not fetched for that. Raises TokbenchError for a path that is missing, an
    unknown source, less data than a micro-batch.
    """
    data, batch = recipe.data, recipe.training.batch_size // recipe.training.gradient_accumulation
    if data.source.startswith("hub:") or "://" in data.source:
        return f"{data.source}: lies elsewhere, not opened"
    if data.source.startswith("codes:") and isinstance(recipe, GeneratorRecipe):
        folder = data.source.removeprefix("codes:")
        train, held_out = len(CodeCache(folder, "train", data.limit)), len(CodeCache(folder, "eval", data.eval_limit))
    else:
        images = open_split(data, "train", recipe.seed)
        train, held_out = len(images), len(open_split(data, "eval"))
    if train < batch or not held_out:
        raise TokbenchError(
            f"data.source {data.source}: {train} training and {held_out} held-out samples; training needs at least "
            f"{batch}, a micro-batch, and one to look at"
        )
    return f"{data.source}: {train:,} training and {held_out:,} held-out samples"
