"""A 3D convolution that looks back in time, as the 2D convolutions of its slices on a CPU.

PyTorch's ``conv3d`` leaves oneDNN for a loop of its own where it is told to pad, and where maps are small: 5 to 10
times slower at 32 channels. The slices of a kernel in time are 2D convolutions of whole batches of frames, which always
go through oneDNN, and where there are zeros for frames nothing is computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class Shape(NamedTuple):
    """How a kernel goes over the frames."""

    stride: tuple[int, int, int]
    padding: tuple[int, int]  # zeros on each side of rows and columns
    before: int  # frames of zeros before the first, fewer than the kernel has


def causal_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """(B, C, T, H, W), weight (C', C, k, kh, kw) -> (B, C', 1 + (before + T - k) // stride, H', W')."""
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type == "cpu" and not tracing:
        if torch.is_autocast_enabled("cpu"):
            to = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(to), weight.to(to), None if bias is None else bias.to(to)
        y: Tensor = _BySlices.apply(x, weight, bias, shape)
        return y
    rows, columns = shape.padding
    return F.conv3d(F.pad(x, (columns, columns, rows, rows, shape.before, 0)), weight, bias, shape.stride)


class _BySlices(torch.autograd.Function):
    """Keeps its input alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.with_bias = shape, bias is not None
        newest, *older = _slices(x.shape[2], weight.shape[2], shape)
        y = _clips(_conv(x, weight, newest, shape, bias), x.shape[0])
        for part in older:
            y[:, :, part.first :] += _clips(_conv(x, weight, part, shape), x.shape[0])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_x = torch.zeros_like(x, memory_format=torch.channels_last_3d) if wants_x else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        for part in _slices(x.shape[2], weight.shape[2], ctx.shape):
            of_x, of_weight, _ = torch.ops.aten.convolution_backward(
                _frames(grad[:, :, part.first :]),
                _frames(x[:, :, part.frames]),
                weight[:, :, part.tap],
                None,
                ctx.shape.stride[1:],
                ctx.shape.padding,
                (1, 1),
                False,
                (0, 0),
                1,
                (wants_x, wants_weight, False),
            )
            if grad_x is not None:
                grad_x[:, :, part.frames] += _clips(of_x, x.shape[0])
            if grad_weight is not None:
                grad_weight[:, :, part.tap] = of_weight
        grad_bias = grad.sum((0, 2, 3, 4)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None


class _Slice(NamedTuple):
    """One 2D slice of the kernel: the frames that it meets, and the first output frame that they give to."""

    tap: int
    frames: slice
    first: int


def _slices(frames: int, kernel: int, shape: Shape) -> list[_Slice]:
    """From the newest, which gives to every output frame, to the oldest; those that meet zeros alone are left out."""
    stride, before = shape.stride[0], shape.before
    outputs = (frames + before - kernel) // stride + 1
    found = []
    for tap in reversed(range(kernel)):
        first = max(0, -((tap - before) // stride))
        start = first * stride + tap - before
        if first < outputs:
            found.append(_Slice(tap, slice(start, start + (outputs - first - 1) * stride + 1, stride), first))
    return found


def _conv(x: Tensor, weight: Tensor, part: _Slice, shape: Shape, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(_frames(x[:, :, part.frames]), weight[:, :, part.tap], bias, shape.stride[1:], shape.padding)


def _frames(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def _clips(frames: Tensor, batch: int) -> Tensor:
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)
