"""Which task a recipe's kind means."""

from __future__ import annotations

from accelerate import Accelerator

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.recipe import Recipe
from tokbench.training.task import Task


def build_task(recipe: Recipe, accelerator: Accelerator) -> Task:
    """The task of ``recipe.kind``, its models prepared in ``accelerator``."""
    if isinstance(recipe, GeneratorRecipe):
        from tokbench.training.generator_task import GeneratorTask

        return GeneratorTask(recipe, accelerator)
    from tokbench.training.tokenizer_task import TokenizerTask

    return TokenizerTask(recipe, accelerator)
