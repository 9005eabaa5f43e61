"""Every architecture, and two images."""

from __future__ import annotations

import pytest
import torch
from small_tokenizers import SMALL, size_of


@pytest.fixture(params=[name for name in SMALL if size_of(name) == 16])
def architecture(request: pytest.FixtureRequest) -> str:
    """Every architecture of images; ``test_any_grid`` has the others."""
    return str(request.param)


@pytest.fixture
def images() -> torch.Tensor:
    """Two images (2, 3, 16, 16) in [-1, 1]."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
