"""Whether there are Triton kernels of our own for what is at hand."""

from __future__ import annotations

import importlib.util

from torch import Tensor

HAVE_TRITON = importlib.util.find_spec("triton") is not None


def have_kernels(x: Tensor) -> bool:
    """For tensors like ``x``: on a GPU, where Triton is installed."""
    return HAVE_TRITON and x.device.type == "cuda"
