"""What only the quantizer and the architecture themselves can say about a recipe."""

from __future__ import annotations

import torch

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import Recipe
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
