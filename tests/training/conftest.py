"""A recipe small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe

TINY = [
    "data.image_size=16",
    "data.limit=64",
    "data.eval_limit=8",
    "model.channels=8",
    "model.multipliers=[1,2]",
    "model.latent_channels=8",
    "quantizer.codebook_size=16",
    "training.batch_size=8",
    "training.steps=12",
    "training.warmup_steps=2",
    "training.picture_every=5",
    "training.checkpoint_every=4",
]


@pytest.fixture
def tiny() -> Callable[..., TokenizerRecipe]:
    """A tiny recipe, with further ``a.b=c`` settings."""
    return lambda *settings: load_recipe("demo", [*TINY, *settings])
