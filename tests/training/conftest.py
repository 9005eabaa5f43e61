"""A recipe small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from recipes_tiny import TINY

from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe


@pytest.fixture(scope="session")
def tiny() -> Callable[..., TokenizerRecipe]:
    """A tiny recipe, with further ``a.b=c`` settings."""
    return lambda *settings: load_recipe("demo", [*TINY, "quantizer.codebook_size=16", *settings])
