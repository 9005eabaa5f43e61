"""``training.compile``: what stays out of the graphs, and what is said where torch's compiler fails."""

from __future__ import annotations

import torch
from torch import nn

from tokbench.errors import first_line, printable


def keep_eager(module: nn.Module) -> None:
    """Leave a module out of compiled graphs, with the hooks before it."""
    module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    for key, hook in module._forward_pre_hooks.items():
        module._forward_pre_hooks[key] = torch.compiler.disable(hook)


def compiler_fault(error: BaseException) -> str | None:
    """What torch's compiler, or the one for C++ that it calls, says went wrong; None where ``error`` is another's."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return None
    lines = [line.strip() for line in str(error).split("\n")]
    found = next((line for line in lines if " error: " in line), "")  # of a C++ compiler, behind its own command
    cure = " (ATEN_CPU_CAPABILITY=avx2 does without AVX-512)" if "512" in found else ""
    return f"{printable(found, 300)}{cure}" if found else first_line(error, 300)
