"""What only the quantizer and the architecture themselves can say about a recipe."""

from __future__ import annotations

import torch

from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer


def check_recipe(recipe: TokenizerRecipe, source: str = "recipe") -> int:
    """Build the tokenizer on the meta device (no memory, no time) and return its number of parameters.

    Raises TokbenchError naming ``source`` when the combination is impossible: LFQ with a codebook that is no
    power of two, an unknown quantizer argument.
    """
    config = TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
    try:
        with torch.device("meta"):
            tokenizer = Tokenizer(config)
    except (ValueError, TokbenchError) as error:
        raise TokbenchError(f"{source}: {error}") from None
    return sum(p.numel() for p in tokenizer.parameters())
