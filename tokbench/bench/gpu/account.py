"""What a program asks of an H100, counted on tensors without values: FLOPs, bytes, memory, and the time they take.

An estimate before anything was measured, and never in the place of a measurement.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tokbench.training.peak_flops import peak_flops

GPU = "NVIDIA H100 80GB HBM3"
BANDWIDTH = 3.35e12  # bytes/s, its data sheet
SHARE = 0.5  # of both that programs of large operators are assumed to reach
_LAUNCH = 5e-6  # seconds that an operator takes at least where nothing records graphs
ASSUMPTION = (
    f"estimates for {GPU}, not measurements: every operator the longer of its FLOPs at {SHARE:.0%} of the peak and its "
    f"bytes at {SHARE:.0%} of {BANDWIDTH / 1e12:g} TB/s, plus what starting and compiling is put at"
)


@dataclass(frozen=True)
class Work:
    """FLOPs (two a multiply-add), bytes read and written, the most bytes alive at once, and seconds, an estimate."""

    flops: float = 0.0
    bytes: float = 0.0
    peak: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        peak = max(self.peak, other.peak)
        return Work(self.flops + other.flops, self.bytes + other.bytes, peak, self.seconds + other.seconds)

    def times(self, count: float) -> Work:
        """So often, one after the other."""
        return Work(self.flops * count, self.bytes * count, self.peak, self.seconds * count)


def operator(flops: float, moved: float, precision: str) -> Work:
    """One operator: the longer of its two times."""
    peak = peak_flops(GPU, precision)
    assert peak is not None
    return Work(flops, moved, 0.0, max(flops / (SHARE * peak), moved / (SHARE * BANDWIDTH)))


class Account(TorchDispatchMode):
    """Adds up what runs inside, on tensors of any device; ``meta`` and fake ones cost nothing.

    Args:
        graphs: launches cost nothing, as when CUDA graphs are replayed.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds, to keep out of it

    def __init__(self, *, graphs: bool = False) -> None:
        super().__init__()
        self.work, self.graphs = Work(), graphs
        self._alive, self._peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:  # what torch has made of other operators, which in inference mode comes whole
            parts = func.decompose(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        result = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        for x in made:
            self._keep(x)
        if not func.is_view:
            given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
            formula = flop_registry.get(getattr(func, "_overloadpacket", None))
            self.add(float(formula(*args, **(kwargs or {}), out_val=result)) if formula else 0.0, given + made)
        return result

    def add(self, flops: float, moved: Sequence[Tensor]) -> None:
        """One operator that reads and writes these tensors."""
        half = any(x.dtype in (torch.bfloat16, torch.float16) for x in moved)
        found = operator(flops, sum(map(_bytes, moved)), "bf16" if half else "fp32")
        if not self.graphs:
            found = Work(found.flops, found.bytes, 0.0, max(found.seconds, _LAUNCH))
        self.work = self.work + found

    def _keep(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self._alive += storage.nbytes()
        self._peak = max(self._peak, self._alive)
        weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self._alive -= size

    @property
    def total(self) -> Work:
        """Of everything so far."""
        return Work(self.work.flops, self.work.bytes, float(self._peak), self.work.seconds)


def _bytes(x: Tensor) -> int:
    """What is read or written of it: of an expanded tensor what there is."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


class _OneKernel(TorchFunctionMode):
    """Attention that keeps no scores, as GPUs have it; on the meta device torch takes it apart. Without gradients."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention or torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        q, k, v = args[:3]
        made = q.new_empty(*q.shape[:-1], v.shape[-1])
        flops = 2.0 * q.numel() * k.shape[-2] * 2
        self.account.add(flops, [q, k, v, made])
        return made


def counted(work: Callable[[], object], *, graphs: bool = False) -> Work:
    """What ``work`` asks for."""
    with Account(graphs=graphs) as account, _OneKernel(account):
        work()
    return account.total
