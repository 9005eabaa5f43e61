"""Every architecture, and two images."""

from __future__ import annotations

import pytest
import torch

from tokbench.config.architecture import name_of
from tokbench.models.registry import all_settings


@pytest.fixture(params=map(name_of, all_settings()))
def architecture(request: pytest.FixtureRequest) -> str:
    """Every architecture there is: one without a small example here fails its tests."""
    return str(request.param)


@pytest.fixture
def images() -> torch.Tensor:
    """Two images (2, 3, 16, 16) in [-1, 1]."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
