"""The Accelerator of a run: precision, processes, how the model lies on them."""

from __future__ import annotations

import atexit
import inspect
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.nn.parallel import DistributedDataParallel

from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.training import sharding


class _BuffersStay(DistributedDataParallelKwargs):
    """Quantizers keep their codebooks equal on all processes themselves, so buffers are not sent at every step."""

    def to_kwargs(self) -> dict[str, Any]:
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        # The newer name, where torch has it; the older one is deprecated there.
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return {**super().to_kwargs(), name: False}


def make_accelerator(recipe: Recipe, cpu: bool = False) -> Accelerator:
    """An Accelerator for this recipe's precision; under ``accelerate launch`` it joins the other processes.

    Raises TokbenchError for an FSDP that tokbench does not train with, and a precision that the device lacks.
    """
    precision = recipe.training.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and not cpu else "fp32"
    if precision == "fp16" and (cpu or not torch.cuda.is_available()):
        raise TokbenchError("training.precision fp16 needs a GPU; on a CPU set training.precision=fp32 or bf16")
    if precision == "bf16" and not cpu and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise TokbenchError("training.precision bf16: this GPU has none; set training.precision=fp16 or fp32")
    mixed = "no" if precision == "fp32" else precision
    plugin = sharding.plugin(recipe, precision) if sharding.wanted() else None
    accelerator = Accelerator(mixed_precision=mixed, cpu=cpu, fsdp_plugin=plugin)
    if plugin is not None:
        sharding.on_cpu_too(accelerator, plugin)
    # Not as kwargs_handlers: accelerate knows its own class there and no other.
    accelerator.ddp_handler = _BuffersStay()
    return accelerator


@atexit.register
def _leave() -> None:
    """Leave the other processes before the interpreter ends: threads that still wait for them would abort it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
