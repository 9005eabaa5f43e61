"""Networks as shapes alone: to count them, and to hold files against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

# Those of nn.init that ask modes themselves; all others end in a tensor's two.
_DRAWS = {
    Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_normal_, init.kaiming_uniform_,
}  # fmt: skip


@contextmanager
def weightless() -> Iterator[None]:
    """The meta device, without the draws of weights that have no values: torch takes milliseconds over each of them,
    most of the time that building a network takes there."""
    with torch.device("meta"), Undrawn():
        yield


class Undrawn(TorchFunctionMode):
    """Weights that would be drawn stay what their memory holds: for those that are written over."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
