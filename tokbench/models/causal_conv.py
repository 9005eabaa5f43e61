"""A 3D convolution that looks back in time, as 2D convolutions of frames on a CPU.

PyTorch's ``conv3d`` leaves oneDNN for a loop of its own where it is told to pad, and where maps are small: 5 to 10
times slower at 32 channels. 2D convolutions of frames always go through oneDNN, and where there are zeros for frames
nothing is computed. Kernels of three frames at stride 1 take two outputs at a time by Winograd's F(2, 3) over the
frames (Lavin & Gray 2015, arXiv:1509.09308, section 4.1): four convolutions in place of six.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# From so many channels in and out, and positions, sums of frames and of kernels cost less than what they save.
CHANNELS, POSITIONS = 16, 4096


class Shape(NamedTuple):
    """How a kernel goes over the frames."""

    stride: tuple[int, int, int]
    padding: tuple[int, int]  # zeros on each side of rows and columns
    before: int  # frames of zeros before the first, fewer than the kernel has


class Term(NamedTuple):
    """A 2D convolution: of a signed sum of frames, with a weighted sum of the kernel's slices, to output frames."""

    given: tuple[tuple[int, slice], ...]
    weights: tuple[float, ...]
    to: tuple[tuple[int, slice], ...]
    begins: tuple[bool, ...]  # for each of ``to``, whether nothing was put there before; its sign is then 1


def causal_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """(B, C, T, H, W), weight (C', C, k, kh, kw) -> (B, C', 1 + (before + T - k) // stride, H', W')."""
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type == "cpu" and not tracing:
        if torch.is_autocast_enabled("cpu"):
            to = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(to), weight.to(to), None if bias is None else bias.to(to)
        y: Tensor = _ByTerms.apply(x, weight, bias, shape)
        return y
    rows, columns = shape.padding
    return F.conv3d(F.pad(x, (columns, columns, rows, rows, shape.before, 0)), weight, bias, shape.stride)


class _ByTerms(torch.autograd.Function):
    """Keeps its input alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.terms, ctx.shape, ctx.with_bias = _terms_for(x, weight, shape), shape, bias is not None
        out: Tensor | None = None
        for term in ctx.terms:
            part = F.conv2d(_sum(x, term.given), _kernel(weight, term), None, shape.stride[1:], shape.padding)
            part = part.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
            if out is None:
                frames = 1 + (shape.before + x.shape[2] - weight.shape[2]) // shape.stride[0]
                size = (x.shape[0], weight.shape[0], frames, *part.shape[3:])
                out = torch.empty(size, dtype=part.dtype, memory_format=torch.channels_last_3d)
            for (sign, where), begins in zip(term.to, term.begins, strict=True):
                if begins:
                    out[:, :, where] = part
                else:
                    out[:, :, where].add_(part, alpha=sign)
        assert out is not None
        return out if bias is None else out.add_(bias.view(1, -1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_x = torch.zeros_like(x, memory_format=torch.channels_last_3d) if wants_x else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        for term in ctx.terms:
            given = _sum(x, term.given)
            of_given, of_kernel, _ = torch.ops.aten.convolution_backward(
                _sum(grad, term.to),
                given,
                _kernel(weight, term),
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
                of_given = of_given.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
                for sign, where in term.given:
                    grad_x[:, :, where].add_(of_given, alpha=sign)
            if grad_weight is not None:
                for tap, share in enumerate(term.weights):
                    if share:
                        grad_weight[:, :, tap].add_(of_kernel, alpha=share)
        grad_bias = grad.sum((0, 2, 3, 4)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None


def _sum(x: Tensor, parts: tuple[tuple[int, slice], ...]) -> Tensor:
    """The signed sum of some of the frames of (B, C, T, H, W), as images (B*T', C, H, W)."""
    (sign, where), *rest = parts
    total = x[:, :, where]
    if rest:
        total = torch.add(total, x[:, :, rest[0][1]], alpha=sign * rest[0][0])
    if sign < 0:
        total = -total
    return total.transpose(1, 2).flatten(0, 1)


def _kernel(weight: Tensor, term: Term) -> Tensor:
    taps = [(share, weight[:, :, tap]) for tap, share in enumerate(term.weights) if share]
    total = taps[0][1] if taps[0][0] == 1 else taps[0][0] * taps[0][1]
    for share, tap in taps[1:]:
        total = torch.add(total, tap, alpha=share)
    return total


def _terms_for(x: Tensor, weight: Tensor, shape: Shape) -> tuple[Term, ...]:
    large = min(weight.shape[:2]) >= CHANNELS and x[:, 0].numel() >= POSITIONS
    by_pairs = large and x.dtype in (torch.float32, torch.float64)
    return _terms(x.shape[2], weight.shape[2], shape.stride[0], shape.before, by_pairs)


@cache
def _terms(frames: int, kernel: int, stride: int, before: int, by_pairs: bool) -> tuple[Term, ...]:
    """The convolutions that together are the one in three axes."""
    outputs = (frames + before - kernel) // stride + 1
    pairs = 0
    if by_pairs and kernel == 3 and stride == 1:
        pairs = max(0, outputs - before) // 2  # whose frames are all there
    alone = outputs - 2 * pairs
    return (*_by_taps(alone, kernel, stride, before), *(_by_pairs(alone, pairs, alone - before) if pairs else ()))


def _by_taps(outputs: int, kernel: int, stride: int, before: int) -> list[Term]:
    """The first ``outputs`` frames: the newest slice, which gives to all, to the oldest; zeros are left out."""
    found: list[Term] = []
    for tap in reversed(range(kernel)):
        first = max(0, -((tap - before) // stride))
        start = first * stride + tap - before
        if first < outputs:
            given = slice(start, start + (outputs - first - 1) * stride + 1, stride)
            weights = tuple(float(other == tap) for other in range(kernel))
            found.append(Term(((1, given),), weights, ((1, slice(first, outputs)),), (not found,)))
    return found


def _by_pairs(first: int, pairs: int, start: int) -> tuple[Term, ...]:
    """Outputs from ``first`` on, two at a time, the first of which sees the frames ``start`` to ``start`` + 2."""
    a, b, c, d = (slice(start + i, start + i + 2 * pairs - 1, 2) for i in range(4))
    one, two = (slice(first + i, first + i + 2 * pairs - 1, 2) for i in range(2))
    return (
        Term(((1, a), (-1, c)), (1.0, 0.0, 0.0), ((1, one),), (True,)),
        Term(((1, b), (1, c)), (0.5, 0.5, 0.5), ((1, one), (1, two)), (False, True)),
        Term(((1, c), (-1, b)), (0.5, -0.5, 0.5), ((1, one), (-1, two)), (False, False)),
        Term(((1, b), (-1, d)), (0.0, 0.0, 1.0), ((-1, two),), (False,)),
    )
