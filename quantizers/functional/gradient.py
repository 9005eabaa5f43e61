"""How a gradient passes through the choice of a code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class _StraightThrough(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, quantized: Tensor) -> Tensor:
        return quantized.view_as(quantized)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """``quantized`` (same shape as z), exactly, with d quantized / d z = 1 and no gradient to the code vectors.

    The usual ``z + (quantized - z).detach()`` is the same up to rounding. Bengio et al. 2013, arXiv:1308.3432;
    van den Oord et al. 2017, arXiv:1711.00937, section 3.2.
    """
    return _StraightThrough.apply(z, quantized.detach())


def rotate_to(z: Tensor, quantized: Tensor, eps: float = 1e-6) -> Tensor:
    """``quantized`` with the gradient of the rotation and rescaling that carries z onto it. Shapes (..., d).

    The rotation trick: quantized = (|q|/|z|) R z, with R = I - 2 r r^T + 2 q' z'^T held constant, where z', q' are the
    unit vectors and r = (z' + q') / |z' + q'|. Fifty et al. 2024, arXiv:2410.06424, section 4.2.
    """
    q = quantized.detach()
    with torch.no_grad():
        z_norm = z.norm(dim=-1, keepdim=True).clamp_min(eps)
        q_norm = q.norm(dim=-1, keepdim=True)
        z_unit, q_unit = z / z_norm, q / q_norm.clamp_min(eps)
        r = torch.nn.functional.normalize(z_unit + q_unit, dim=-1, eps=eps)
        scale = q_norm / z_norm
    along_r = (z * r).sum(-1, keepdim=True)
    along_z = (z * z_unit).sum(-1, keepdim=True)
    return scale * (z - 2 * along_r * r + 2 * along_z * q_unit)


class _MeanSquare(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, differences: Tensor, scale: float, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, Tensor], output: Tensor) -> None:
        _, differences, ctx.scale, _ = inputs
        ctx.save_for_backward(differences)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (differences,) = ctx.saved_tensors
        return differences * (grad * ctx.scale), None, None, None


def mean_square(z: Tensor, *targets_minus: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over targets t of mean((z - t)^2), given the differences z - t; and the value of each, (targets,).

    For where the differences are at hand: the backward pass is one product.
    """
    count = len(targets_minus)
    with torch.no_grad():
        flat = [r.detach().reshape(-1) for r in targets_minus]
        each = torch.stack([torch.dot(r, r) for r in flat]) / z.numel()
        total = targets_minus[0] if count == 1 else torch.stack(targets_minus).sum(0)
    return _MeanSquare.apply(z, total.detach(), 2 / (count * z.numel()), each.mean()), each
