"""CUDA graphs without CUDA: what would be captured is recorded, what CUDA refuses is refused, and a replay does again
what was recorded, in the memory in which it was done first."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from elsewhere import Elsewhere
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "is_nonzero", "index.Tensor_mask")


class NotPermitted(RuntimeError):
    """What cannot be done while a stream is capturing."""


class Graph(TorchDispatchMode):
    """``torch.cuda.CUDAGraph`` and the capture of one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any]] = []
        self.made: set[int] = set()
        self.outside: list[tuple[Any, weakref.ref[Elsewhere]]] = []

    def pool(self) -> int:
        return id(self)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        self._refuse(func, given, kwargs or {})
        result = func(*args, **(kwargs or {}))
        # What was there before is held weakly: a graph reads its memory whether or not it is still anyone's.
        self.outside += [(func, weakref.ref(x)) for x in given if isinstance(x, Elsewhere) and id(x) not in self.made]
        self.made |= {id(x) for x in tree_leaves(result) if isinstance(x, Tensor)}
        values = tree_map_only(Elsewhere, lambda x: x.values, (args, kwargs or {}))
        self.steps.append((func, values, tree_map_only(Elsewhere, lambda x: x.values, result)))
        self._alive.append(result)
        return result

    def _refuse(self, func: Any, given: list[Tensor], kwargs: dict[str, Any]) -> None:
        name = str(func).removeprefix("aten.")
        masks = func is torch.ops.aten.index.Tensor and any(x.dtype == torch.bool for x in given[1:])
        if name.startswith(_WAITS) or masks:
            raise NotPermitted(f"{name}: the host would wait for a value while a stream is capturing")
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu":
            raise NotPermitted(f"{name}: to or on the CPU while a stream is capturing")
        for x in given:
            if not isinstance(x, Elsewhere) and (x.dim() or "copy" in name):
                raise NotPermitted(f"{name}: a CPU tensor {tuple(x.shape)} while a stream is capturing")

    def replay(self) -> None:
        """Do it again: views stay what they are, all else is computed into the memory of the first time."""
        for func, x in self.outside:
            if x() is None and "_like" not in str(func):  # those read its shape alone
                raise NotPermitted(f"{func}: a graph reads memory that was freed since it was captured")
        for func, (args, kwargs), result in self.steps:
            again = func(*args, **_on_cpu(kwargs))
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    assert old.shape == new.shape, f"{func}: {tuple(new.shape)}, captured as {tuple(old.shape)}"
                    old.copy_(new)

    _alive: list[Any]


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "device": torch.device("cpu")} if kwargs.get("device") is not None else kwargs


class _Stream:
    def wait_stream(self, other: _Stream) -> None:
        pass


@contextmanager
def _captured(graph: Graph, pool: int | None = None) -> Iterator[None]:
    graph._alive = []  # or a tensor's number could become another's while it is recorded
    with graph:
        yield
    del graph._alive


@contextmanager
def _on(stream: _Stream) -> Iterator[None]:
    yield


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of torch.cuda's graphs and streams."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", _captured)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: _Stream())
    monkeypatch.setattr(torch.cuda, "stream", _on)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
