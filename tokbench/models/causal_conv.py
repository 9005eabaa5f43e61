"""A 3D convolution that looks back in time, as 2D convolutions of frames on a CPU.

PyTorch's ``conv3d`` leaves oneDNN for a loop of its own where it is told to pad, and where maps are small: 5 to 10
times slower at 32 channels. 2D convolutions of frames always go through oneDNN, and where there are zeros for frames
nothing is computed. Kernels of three frames at stride 1 take four outputs at a time by Winograd's F(4, 3) over the
frames (Lavin & Gray 2015, arXiv:1509.09308, section 4.3): six convolutions in place of twelve.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# From so many channels in and out, and positions, sums of frames and of kernels cost less than what they save.
CHANNELS, POSITIONS = 16, 2048

# F(4, 3), a row for each of its six convolutions: what it takes of the six frames that four outputs see, what of the
# kernel's three slices, and what of it goes to the four outputs.
_OF_FRAMES = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OF_SLICES = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_TO_OUTPUTS = ((1, 0, 0, 0), (1, 1, 1, 1), (1, -1, 1, -1), (1, 2, 4, 8), (1, -2, 4, -8), (0, 0, 0, 1))


class Shape(NamedTuple):
    """How a kernel goes over the frames."""

    stride: tuple[int, int, int]
    padding: tuple[int, int]  # zeros on each side of rows and columns
    before: int  # frames of zeros before the first, fewer than the kernel has


class Tap(NamedTuple):
    """A 2D convolution of some frames with one of the kernel's slices, which gives to some outputs."""

    given: slice
    number: int
    to: slice


class Plan(NamedTuple):
    """The outputs: ``alone`` of them by ``taps``, one for a slice of the kernel, then ``fours`` times four together.

    The first of these looks back on ``before`` frames of zeros (fewer than none: on frames less).
    """

    alone: int
    fours: int
    before: int
    taps: tuple[Tap, ...]


def causal_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """(B, C, T, H, W), weight (C', C, k, kh, kw) -> (B, C', 1 + (before + T - k) // stride, H', W')."""
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type == "cpu" and not tracing:
        if torch.is_autocast_enabled("cpu"):
            to = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(to), weight.to(to), None if bias is None else bias.to(to)
        y: Tensor = _OnFrames.apply(x, weight, bias, shape)
        return y
    rows, columns = shape.padding
    return F.conv3d(F.pad(x, (columns, columns, rows, rows, shape.before, 0)), weight, bias, shape.stride)


class _OnFrames(torch.autograd.Function):
    """Keeps its input alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        ctx.save_for_backward(x, weight)
        plan = ctx.plan = _plan_for(x, weight, shape)
        ctx.shape, ctx.with_bias = shape, bias is not None
        out: Tensor | None = None
        if plan.fours:
            sums = _of_frames(x, plan.before, plan.fours)
            for i, kernel in enumerate(_kernels(weight)):
                part = F.conv2d(_images(sums[i], x), kernel, None, 1, shape.padding)
                if out is None:
                    out = _empty(x, part, plan)
                    made = part.new_empty(6, len(x), plan.fours, part[0].numel())
                made[i] = part.permute(0, 2, 3, 1).reshape(made[i].shape)
            assert out is not None
            factors, rows = x.new_tensor(_TO_OUTPUTS).T, _rows(out)
            for clip, k in product(range(len(x)), range(plan.fours)):
                at = plan.alone + 4 * k
                torch.mm(factors, made[:, clip, k], out=rows[clip, at : at + 4])
        for given, slice_, to in plan.taps:
            part = F.conv2d(_frames(x[:, :, given]), weight[:, :, slice_], None, shape.stride[1:], shape.padding)
            out = _empty(x, part, plan) if out is None else out
            of_clips = part.unflatten(0, (len(x), -1)).transpose(1, 2)
            if slice_ == weight.shape[2] - 1:  # the newest, which comes first and gives to all
                out[:, :, to] = of_clips
            else:
                out[:, :, to].add_(of_clips)
        assert out is not None
        return out if bias is None else out.add_(bias.view(1, -1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        plan: Plan = ctx.plan
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_x = torch.empty_like(x, memory_format=torch.channels_last_3d).zero_() if wants_x else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None

        def of(grad: Tensor, given: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
            settings = (ctx.shape.stride[1:], ctx.shape.padding, (1, 1), False, (0, 0), 1)
            wanted = (wants_x, wants_weight, False)
            of_given, of_kernel, _ = torch.ops.aten.convolution_backward(grad, given, kernel, None, *settings, wanted)
            return of_given, of_kernel

        for given, slice_, to in plan.taps:
            of_given, of_slice = of(_frames(grad[:, :, to]), _frames(x[:, :, given]), weight[:, :, slice_])
            if grad_x is not None:
                grad_x[:, :, given].add_(of_given.unflatten(0, (len(x), -1)).transpose(1, 2))
            if grad_weight is not None:
                grad_weight[:, :, slice_].add_(of_slice)
        if plan.fours:
            sums, of_kernels = _of_frames(x, plan.before, plan.fours), []
            of_outputs = _of_outputs(grad, plan)
            for i, kernel in enumerate(_kernels(weight)):
                of_given, of_kernel = of(_images(of_outputs[i], grad), _images(sums[i], x), kernel)
                if grad_x is not None:
                    sums[i] = of_given.permute(0, 2, 3, 1).reshape(sums[i].shape)
                of_kernels.append(of_kernel)
            if grad_x is not None:
                factors, rows = x.new_tensor(_OF_FRAMES).T, _rows(grad_x)
                for clip, k in product(range(len(x)), range(plan.fours)):
                    seen, lacking = _window(plan.before, k)
                    rows[clip, seen].addmm_(factors[lacking:], sums[:, clip, k])
            if grad_weight is not None:
                slices = x.new_tensor(_OF_SLICES).T @ torch.stack(of_kernels).flatten(1)
                grad_weight += slices.view(3, *of_kernels[0].shape).permute(1, 2, 0, 3, 4)
        grad_bias = grad.sum((0, 2, 3, 4)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None


def _empty(x: Tensor, part: Tensor, plan: Plan) -> Tensor:
    size = (len(x), part.shape[1], plan.alone + 4 * plan.fours, *part.shape[2:])
    return torch.empty(size, dtype=part.dtype, memory_format=torch.channels_last_3d)


def _frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> images (B*T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, T, H, W) as it lies in memory: (B, T, H*W*C)."""
    return x.permute(0, 2, 3, 4, 1).view(len(x), x.shape[2], -1)


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """Frames as they lie in memory, (B, T, H*W*C), of the sides and channels of ``like`` -> (B*T, C, H, W)."""
    _, channels, _, height, width = like.shape
    return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


def _window(before: int, k: int) -> tuple[slice, int]:
    """The frames that outputs of four ``k`` see, and how many of the six are zeros before the clip's first."""
    start = 4 * k - before
    lacking = max(0, -start)
    return slice(start + lacking, start + 6), lacking


def _of_frames(x: Tensor, before: int, fours: int) -> Tensor:
    """What the six convolutions take of (B, C, T, H, W): (6, B, fours, H*W*C)."""
    rows, factors = _rows(x), x.new_tensor(_OF_FRAMES)
    sums = x.new_empty(6, len(x), fours, rows.shape[2])
    for clip, k in product(range(len(x)), range(fours)):
        seen, lacking = _window(before, k)
        torch.mm(factors[:, lacking:], rows[clip, seen], out=sums[:, clip, k])
    return sums


def _of_outputs(grad: Tensor, plan: Plan) -> Tensor:
    """The gradient of what the six convolutions give, out of that of the outputs: (6, B, fours, H*W*C)."""
    rows, factors = _rows(grad), grad.new_tensor(_TO_OUTPUTS)
    found = grad.new_empty(6, len(grad), plan.fours, rows.shape[2])
    for clip, k in product(range(len(grad)), range(plan.fours)):
        at = plan.alone + 4 * k
        torch.mm(factors, rows[clip, at : at + 4], out=found[:, clip, k])
    return found


def _kernels(weight: Tensor) -> Tensor:
    """(C', C, 3, kh, kw) -> those of the six convolutions, (6, C', C, kh, kw)."""
    slices = weight.permute(2, 0, 1, 3, 4)
    return (weight.new_tensor(_OF_SLICES) @ slices.flatten(1)).view(6, *slices.shape[1:])


def _plan_for(x: Tensor, weight: Tensor, shape: Shape) -> Plan:
    large = min(weight.shape[:2]) >= CHANNELS and x[:, 0].numel() >= POSITIONS
    exact = x.dtype in (torch.float32, torch.float64)
    by_fours = large and exact and weight.shape[2] == 3 and shape.stride == (1, 1, 1)
    return _plan(x.shape[2], weight.shape[2], shape.stride[0], shape.before, by_fours)


@cache
def _plan(frames: int, kernel: int, stride: int, before: int, by_fours: bool) -> Plan:
    """For the first outputs: the newest slice, which gives to all, to the oldest; zeros are left out."""
    outputs = (frames + before - kernel) // stride + 1
    fours = outputs // 4 if by_fours else 0
    alone = outputs - 4 * fours
    taps: list[Tap] = []
    for number in reversed(range(kernel)):
        first = max(0, -((number - before) // stride))
        start = first * stride + number - before
        if first < alone:
            given = slice(start, start + (alone - first - 1) * stride + 1, stride)
            taps.append(Tap(given, number, slice(first, alone)))
    return Plan(alone, fours, before - alone, tuple(taps))
