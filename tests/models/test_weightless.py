"""Networks of shapes alone: no weight is drawn, and all else is as on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_tokenizers import make
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tokbench.models.weightless import weightless


@pytest.mark.parametrize("architecture", ["vqgan", "titok"])
def test_names_shapes_and_types_are_those_of_the_model(architecture: str) -> None:
    with weightless():
        empty = make(architecture).state_dict()
    whole = make(architecture).state_dict()
    assert all(tensor.is_meta for tensor in empty.values())
    assert [(k, v.shape, v.dtype) for k, v in empty.items()] == [(k, v.shape, v.dtype) for k, v in whole.items()]


class Seen(TorchDispatchMode):
    """The operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("init", ["normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "trunc_normal_"])
def test_nothing_is_drawn_inside_and_everything_outside(init: str) -> None:
    draw: Callable[[torch.Tensor], torch.Tensor] = getattr(nn.init, init)
    with weightless(), Seen() as seen:
        weight = torch.empty(3, 4)
        assert draw(weight) is weight and weight.is_meta
    assert not [name for name in seen.names if "normal" in name or "uniform" in name]
    assert draw(torch.zeros(3, 4)).std() > 0
