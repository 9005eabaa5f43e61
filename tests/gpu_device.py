"""Where tests marked ``gpu`` run: on a GPU; in a rehearsal of ``tokbench bench gpu`` on the CPU, so that their code is
known to work before there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tokbench.bench.gpu.checks import rehearsed_on

DEVICE = rehearsed_on() or "cuda"
_LACKING = DEVICE == "cuda" and not torch.cuda.is_available()
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(_LACKING, reason="no CUDA device")]


def on_gpu(test: Callable[..., None]) -> Callable[..., None]:
    """``ON_GPU`` for one test."""
    for mark in ON_GPU:
        test = mark(test)
    return test
