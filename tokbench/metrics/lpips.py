"""Learned perceptual image patch similarity (Zhang et al., 2018), version 0.1, as metric and as training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.metrics.base import PairMetric, Pairs, check_pair
from tokbench.metrics.extractors import exact_convolutions
from tokbench.metrics.registry import register

# The layers of torchvision's ``features``, numbered as there: convolutions by (stride, padding), each followed by a
# ReLU; "M" is a max pooling. Compared are the features after the ReLUs of the convolutions in _TAPS.
_CONVOLUTIONS: dict[str, dict[int, tuple[int, int]]] = {
    "alex": {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)},
    "vgg": dict.fromkeys((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (1, 1)),
}
_POOLS = {"alex": (2, 5), "vgg": (4, 9, 16, 23)}  # of kernel 3 (alex) and 2 (vgg), stride 2
_TAPS = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}
SMALLEST = {"alex": 31, "vgg": 16}  # sides in pixels: of fewer nothing is left after the poolings
_TOGETHER = 2 * 256 * 256  # pixels that a CPU looks at at a time


class LPIPS(nn.Module):
    """``forward(x, y)``: float (B, 3, H, W) in [-1, 1] twice -> (B,), zero for equal images, larger is more different.

    Grey ones (B, 1, H, W) are looked at as RGB of three equal channels.

    Equal to ``lpips.LPIPS(net=..., version="0.1")``. Its weights are buffers outside of any state dict (they are in
    the cache already): they take no gradient, while gradients flow to the images.

    Args:
        net: ``"alex"`` (what papers report) or ``"vgg"`` (what VQ-GAN and its successors train with).
        weights: tensors by name; by default the cached ones (``tokbench weights get lpips-vgg``).

    Raises:
        TokbenchError: an unknown net, or weights that are not in the cache.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Literal["alex", "vgg"] = "vgg", weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        if net not in _TAPS:
            raise TokbenchError(f"LPIPS has no net {net!r} (known: alex, vgg)")
        if weights is None:
            from tokbench import weights as store

            weights = store.load(f"lpips-{net}")
        self.net = net
        buffers = {
            # The network wants ImageNet's normalisation; from [-1, 1] that is this shift and scale.
            "shift": torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1),
            "scale": torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1),
        }
        for index in _CONVOLUTIONS[net]:
            buffers[f"weight_{index}"] = weights[f"features.{index}.weight"].detach()
            buffers[f"bias_{index}"] = weights[f"features.{index}.bias"].detach()
        for order, index in enumerate(_TAPS[net]):
            buffers[f"head_{index}"] = weights[f"lin{order}.weight"].detach().reshape(1, -1, 1, 1)
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] not in (1, 3):
            shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
            raise ValueError(f"LPIPS compares (B, 3, H, W) or grey (B, 1, H, W) with the same, got {shapes}")
        if min(x.shape[-2:]) < SMALLEST[self.net]:
            height, width = x.shape[-2:]
            raise ValueError(f"LPIPS ({self.net}) needs sides of at least {SMALLEST[self.net]}, got {height}x{width}")
        distance = x.new_zeros(len(x), dtype=torch.float32)
        for index, a, b in zip(_TAPS[self.net], self._taps(x), self._taps(y), strict=True):
            difference = (_unit(a) - _unit(b)).square()
            head = self.get_buffer(f"head_{index}")
            distance = distance + (difference * head).sum(1).mean(dim=(1, 2)).float()
        return distance

    def _taps(self, images: Tensor) -> list[Tensor]:
        x = (images - self.shift) / self.scale  # of one channel it makes three
        found = []
        for index, (stride, padding) in _CONVOLUTIONS[self.net].items():
            if index - 1 in _POOLS[self.net]:
                x = F.max_pool2d(x, 3 if self.net == "alex" else 2, 2)
            weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            if index in _TAPS[self.net]:
                found.append(x)
        return found


def _unit(features: Tensor) -> Tensor:
    """Channel vectors of unit length; the small number is lpips' own and keeps all-zero vectors at zero."""
    # vector_norm has gradient zero at an all-zero vector, where the root of a sum of squares has NaN.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


class _LPIPSMetric(PairMetric):
    """Mean LPIPS of the uint8 images, scaled back to [-1, 1]."""

    net: Literal["alex", "vgg"]

    def __init__(self) -> None:
        self._module: LPIPS | None = None

    def per_image(self, pairs: Pairs) -> Tensor:
        from tokbench.data.pixels import to_float

        reference, sample = pairs.reference, pairs.sample
        check_pair(self.label, reference, sample)
        if self._module is None:
            self._module = LPIPS(self.net)
        module = self._module.to(reference.device)
        together = len(reference)
        if reference.device.type == "cpu":  # VGG's first features in a cache, not the whole batch's in memory: 1.5x
            together = max(1, _TOGETHER // (reference.shape[2] * reference.shape[3]))
        distances = []
        with torch.no_grad(), exact_convolutions():
            for a, b in zip(reference.split(together), sample.split(together), strict=True):
                x, y = to_float(a), to_float(b)
                if x.device.type == "cpu":  # its convolutions are a quarter faster there
                    x, y = (z.contiguous(memory_format=torch.channels_last) for z in (x, y))
                distances.append(module(x, y))
        return torch.cat(distances)


@register
class LPIPSAlex(_LPIPSMetric):
    """LPIPS 0.1 on AlexNet, the variant papers report."""

    name, net, weights = "lpips", "alex", ("lpips-alex",)
    min_size = SMALLEST["alex"]


@register
class LPIPSVGG(_LPIPSMetric):
    """LPIPS 0.1 on VGG-16, the variant tokenizers are trained with."""

    name, net, weights = "lpips_vgg", "vgg", ("lpips-vgg",)
    min_size = SMALLEST["vgg"]
