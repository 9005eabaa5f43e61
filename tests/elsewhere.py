"""A device that is not there: tensors that say they lie on it, whose values are computed on the CPU all the same.

What a GPU refuses is refused here too: operands on two devices, and CPU tensors where its own are wanted. What a GPU
waits for (a look at a value) is counted. Training needs a device whose gradients torch computes without a driver:
``lazy``; everything else may be called ``cuda``, so that what is chosen for one is chosen.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_aten = torch.ops.aten
# Copies are how tensors cross; a CPU tensor of one number is taken as a number.
_CROSSING = {_aten._to_copy.default, _aten.copy_.default}
# An index of a tensor on a device may lie on the CPU: it is copied over (and waited for).
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._index_put_impl_.default}
_LOOKS = {_aten._local_scalar_dense.default, _aten.nonzero.default, _aten.equal.default, _aten.masked_select.default}


def without_inference_mode(patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """A method that is decorated with it, without: a tensor that wraps another cannot be made in it."""
    patch.setattr(owner, name, torch.no_grad()(getattr(owner, name).__wrapped__))


class DeviceMismatch(RuntimeError):
    """Operands on two devices."""


class Elsewhere(Tensor):
    """A tensor that says it is on another device than its values."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> Elsewhere:
        found = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=torch.device(device.type, 0), requires_grad=False,
        )  # fmt: skip
        found.values = values
        return found

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Elsewhere({self.device}, {tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {}, Counter())


class On(TorchDispatchMode):
    """While it is active tensors can be made on ``device``. ``looks``: how often which operator made a GPU wait."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.looks = torch.device(device, 0), Counter[str]()
        # torch asks the device for autocast's type; this one has none, and its values are the CPU's.
        self._autocast = mock.patch.object(torch, "autocast", _autocast_of(torch.autocast, device))
        self._driver = mock.patch.object(torch.cuda, "_lazy_init")  # there is none

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds, to keep out of it

    def __enter__(self) -> On:
        guarded = getattr(torch._C, "_ensureCUDADeviceGuardSet", None)
        if self.device.type == "cuda" and guarded is None:
            pytest.skip("this torch lets nobody name a GPU whose driver is not there")
        self._autocast.start()
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes its values on the CPU and sends them after
        self._driver.start()
        self._overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a parameter stays of its old type
        if self.device.type == "cuda":
            guarded()  # where there is no driver, one that does nothing
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwritten)
        self._driver.stop()
        torch._C._set_only_lift_cpu_tensors(self._lifted)
        self._autocast.stop()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {}, self.looks, self.device)


def _autocast_of(autocast: Any, device: str) -> Any:
    return lambda name, *rest, **options: autocast("cpu" if name == device else name, *rest, **options)


def _run(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], looks: Counter[str], device: torch.device | None = None
) -> Any:
    leaves = [*_leaves(args), *_leaves(kwargs.values())]
    there = {leaf.device for leaf in leaves if isinstance(leaf, Elsewhere)}
    asked = kwargs.get("device")
    asked = torch.device(asked) if asked is not None else None
    if not there and (asked is None or device is None or asked.type != device.type):
        return func(*args, **kwargs)
    where = next(iter(there)) if there else device
    assert where is not None
    if func not in _CROSSING:
        _check(func, leaves, where)
    if there and (func in _LOOKS or (func in _CROSSING and asked is not None and asked.type == "cpu")):
        looks[str(func)] += 1
    bare_args, bare_kwargs = _bare(args), {name: _bare(value) for name, value in kwargs.items()}
    target = where if asked is None else asked
    if asked is not None:
        bare_kwargs = {**bare_kwargs, "device": torch.device("cpu")}
    result = func(*bare_args, **bare_kwargs)
    if func is _aten.copy_.default or _writes(func):
        return _written(func, args, kwargs, result, target)
    if target.type == "cpu":
        return result
    if func is _aten._local_scalar_dense.default or func is _aten.equal.default:
        return result
    return tree_map_only(Tensor, lambda x: x if isinstance(x, Elsewhere) else Elsewhere(x, target), result)


def _leaves(given: Iterable[Any]) -> Iterator[Any]:
    """What operators are given: tensors and numbers, or lists of them. torch's pytrees take several times as long."""
    for value in given:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _bare(given: Any) -> Any:
    if isinstance(given, Elsewhere):
        return given.values
    return type(given)(map(_bare, given)) if type(given) in (list, tuple) else given


def _check(func: Any, leaves: list[Any], where: torch.device) -> None:
    for leaf in leaves:
        if isinstance(leaf, torch.Generator) and leaf.device.type != where.type:
            raise DeviceMismatch(f"{func} on {where} by a generator of {leaf.device}")
        if isinstance(leaf, Tensor) and leaf.device != where and leaf.dim():
            if func in _INDEXING and leaf.dtype in (torch.int64, torch.bool):
                continue
            raise DeviceMismatch(f"{func} of tensors on {where} and on {leaf.device}")


@functools.cache
def _writes(func: Any) -> bool:
    return any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, target: torch.device) -> Any:
    """Operators that write into an argument answer that very tensor; others' results are wrapped."""
    named = [(a, args[i] if i < len(args) else kwargs.get(a.name)) for i, a in enumerate(func._schema.arguments)]
    own = [value for a, value in named if a.alias_info is not None and a.alias_info.is_write]
    by_values = {id(value.values): value for value in own if isinstance(value, Elsewhere)}
    by_values |= {id(value): value for value in own if isinstance(value, Tensor) and not isinstance(value, Elsewhere)}

    def answer(x: Tensor) -> Tensor:
        return by_values[id(x)] if id(x) in by_values else Elsewhere(x, target)

    return tree_map_only(Tensor, answer, result)
