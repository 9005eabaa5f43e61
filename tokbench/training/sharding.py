"""Fully sharded training (FSDP2) of generators too large for one device: parts on every process, wholes on disk.

torch's own part of it takes a second to import, which every training would wait for: it is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.training.ema import warm_decay

if TYPE_CHECKING:
    from torch.distributed.checkpoint.state_dict import StateDictOptions


def wanted() -> bool:
    """Whether ``accelerate launch --use_fsdp`` started this process."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def plugin(recipe: Recipe, precision: str) -> FullyShardedDataParallelPlugin:
    """How a generator is split: by its transformer blocks. Gradients are summed in fp32.

    Raises TokbenchError for what does not go together with FSDP.
    """
    if not isinstance(recipe, GeneratorRecipe):
        raise TokbenchError("FSDP is for generators: train a tokenizer without --use_fsdp (its codebook is not split)")
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise TokbenchError("FSDP version 1 is not supported: add --fsdp_version 2 to accelerate launch")
    if precision == "fp16":
        raise TokbenchError("training.precision=fp16 does not go together with FSDP: use bf16")
    if recipe.training.compile:
        raise TokbenchError("training.compile does not go together with FSDP: set training.compile=false")
    from torch.distributed.fsdp import MixedPrecisionPolicy

    # Casting is autocast's work, as without FSDP; weights travel in bf16.
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Block"],
        mixed_precision_policy=half if precision == "bf16" else None,
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )


def on_cpu_too(accelerator: Accelerator, chosen: FullyShardedDataParallelPlugin) -> None:
    """accelerate passes over FSDP on the CPU without a word; torch shards there just as well."""
    if accelerator.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = chosen


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether models prepared by this accelerator are split over the processes."""
    return bool(getattr(accelerator, "is_fsdp2", False)) and accelerator.num_processes > 1


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's state with whole tensors, in CPU memory, on the main process; empty on others. Collective."""
    from torch.distributed.checkpoint import state_dict

    return cast(dict[str, Tensor], state_dict.get_model_state_dict(model, options=_wholes()))


def whole_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state by parameter names, as ``whole_weights``. Collective."""
    from torch.distributed.checkpoint import state_dict

    return dict(state_dict.get_optimizer_state_dict(model, optimizer, options=_wholes()))


def load_whole(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, Any], states: dict[str, Any]
) -> None:
    """The inverse of both; every process gives the whole state and keeps its part."""
    from torch.distributed.checkpoint import state_dict

    state_dict.set_model_state_dict(model, weights, options=_wholes())
    state_dict.set_optimizer_state_dict(model, optimizer, states, options=_wholes())


def _wholes() -> StateDictOptions:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)


class ShardedAverage:
    """The moving average of sharded weights: every process averages its part. As ``tokbench.training.ema``."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.parts = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``, whose parameters are sharded alike."""
        live = [_local(p.detach()) for p in model.parameters()]
        mine = [_local(part) for part in self.parts.values()]
        if self.count == 0:
            torch._foreach_copy_(mine, live)
        else:
            torch._foreach_lerp_(mine, live, 1.0 - warm_decay(self.decay, self.count))
        self.count += 1

    def whole(self, main: bool) -> dict[str, Tensor]:
        """Whole tensors in CPU memory on the main process; empty on others. Collective."""
        found = {}
        for name, part in self.parts.items():
            tensor = _full(part)
            if main:
                found[name] = tensor.cpu()
        return found

    def state_dict(self, main: bool) -> dict[str, Any]:
        return {"count": self.count, "weights": self.whole(main)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Every process gives the whole state and keeps its part."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        self.count = state["count"]
        for name, part in self.parts.items():
            given = state["weights"][name].to(part.device)
            if isinstance(part, DTensor):
                given = distribute_tensor(given, part.device_mesh, part.placements, src_data_rank=None)
            part.copy_(given)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
