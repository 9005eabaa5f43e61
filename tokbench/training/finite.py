"""Steps whose loss or gradient is NaN or Inf: seen by all processes alike, undone, stopped at or counted."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from quantizers.usage import Usage
from tokbench.errors import TokbenchError


class NotFinite(Exception):
    """A step's loss or gradient is NaN or Inf on some process. Raised on every process, before the weights move."""

    def __init__(self, values: Mapping[str, Tensor], mine: bool) -> None:
        self.terms = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        self.mine = mine  # whether it was this process's batch
        super().__init__(self.terms)


def check_finite(accelerator: Accelerator, values: Mapping[str, Tensor], loss: str, gradient: str) -> None:
    """Raise NotFinite on all processes if one of them has such a loss, or gradients that are.

    With fp16 an infinite gradient is not a fault: the loss scaler leaves that step out itself and lowers its scale.
    """
    scaler = accelerator.scaler
    scaled = scaler is not None and scaler.is_enabled()
    names = [loss] if scaled else [loss, gradient]
    bad = torch.stack([~torch.isfinite(values[name].detach().float()) for name in names]).float()
    anywhere = accelerator.reduce(bad, "sum") if accelerator.num_processes > 1 else bad
    if bool(anywhere.any()):
        if scaled:
            scaler.update()  # or it would refuse the next step, having unscaled this one's gradients
        # Gradients are joined, so a bad loss anywhere makes them bad everywhere: the loss tells whose batch it was.
        raise NotFinite(values, bool(bad[0]) or not bool(anywhere[0]))


@contextmanager
def step_guard(modules: Iterable[nn.Module], on: bool, written: Iterable[nn.Parameter] = ()) -> Iterator[None]:
    """Where the body raises NotFinite, put back what its forward passes changed: buffers, counters, queues, usage.

    ``written``: parameters that a forward pass may write to, as a quantizer does that moves or restarts its codes.
    """
    before = [(module, *_state(module)) for root in modules for module in root.modules()] if on else []
    weights = [(parameter, parameter.detach().clone()) for parameter in written] if on else []
    try:
        yield
    except NotFinite:
        with torch.no_grad():
            for parameter, value in weights:
                parameter.copy_(value)
        for module, buffers, rest in before:
            for name, value in buffers.items():
                buffer = module._buffers[name]
                assert buffer is not None
                buffer.copy_(value)
            vars(module).update(rest)
        raise


def _state(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    buffers = {name: buffer.detach().clone() for name, buffer in module._buffers.items() if buffer is not None}
    plain: dict[str, Any] = {
        name: copy.copy(value) for name, value in vars(module).items() if isinstance(value, (bool, int, list))
    }
    # Its tensors are counted up in place.
    plain |= {name: copy.deepcopy(value) for name, value in vars(module).items() if isinstance(value, Usage)}
    return buffers, plain


def step_together(accelerator: Accelerator, optimizers: Sequence[Any]) -> None:
    """The optimizers' steps, all of them after every gradient of the step has been seen to be finite.

    With fp16 one loss scale serves them all and is updated once, at the end. Of infinite gradients the scaler leaves
    out the optimizer that has them.
    """
    scaler = accelerator.scaler
    if scaler is None or not scaler.is_enabled():
        for optimizer in optimizers:
            optimizer.step()
        return
    for optimizer in optimizers:
        # Not through accelerate's wrapper: it updates the scale after each, and forgets that the next is unscaled.
        scaler.step(getattr(optimizer, "optimizer", optimizer))
    scaler.update()


def guard_latents(quantizer: nn.Module, flag: Tensor) -> None:
    """Let ``quantizer`` see zeros for latents that are NaN or Inf while training, and set ``flag`` (one bool).

    A quantizer refuses such latents, which would leave the other processes waiting in their collective calls; so it
    works on, and whoever reads the flag gives up the step on all processes together.
    """

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not module.training or torch.compiler.is_compiling():
            return None
        z, *rest = arguments
        finite = torch.isfinite(z)
        flag.logical_or_(~finite.detach().all())
        return (torch.where(finite, z, torch.zeros((), dtype=z.dtype, device=z.device)), *rest)

    quantizer.register_forward_pre_hook(before)


@dataclass
class Skips:
    """How many steps were skipped in all, and how many in a row. Kept in checkpoints."""

    total: int = 0
    in_a_row: int = 0

    def skipped(self, step: int, limit: int, terms: str) -> None:
        """Count step ``step`` (from 1). TokbenchError when it makes ``limit`` in a row."""
        self.total, self.in_a_row = self.total + 1, self.in_a_row + 1
        if self.in_a_row >= limit:
            raise TokbenchError(
                f"steps {step - limit + 1} to {step}: {limit} in a row had a loss or gradient that is not finite "
                f"(the last: {terms}), so skipping does not help; lower training.learning_rate, set "
                "training.precision=fp32, or go back to a checkpoint before them"
            )

    def step_succeeded(self) -> None:
        self.in_a_row = 0

    def state_dict(self) -> dict[str, int]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.total, self.in_a_row = state["total"], state["in_a_row"]
