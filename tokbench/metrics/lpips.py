"""Learned perceptual image patch similarity (Zhang et al., 2018), version 0.1, as metric and as training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.metrics.base import PairMetric, check_pair
from tokbench.metrics.registry import register

# torchvision's ``features`` up to the last ReLU that is looked at. A number is a convolution's output channels,
# "M" a max pooling; the features compared are those after the ReLUs of TAPS.
_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


class LPIPS(nn.Module):
    """``forward(x, y)``: float (B, 3, H, W) in [-1, 1] twice -> (B,), zero for equal images, larger is more different.

    Frozen: its weights take no gradient and ``train()`` changes nothing, but gradients flow to the images. Equal to
    ``lpips.LPIPS(net=..., version="0.1")``. Not part of any state dict: the weights are in the cache already.

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
        self.features = _alexnet() if net == "alex" else _vgg16()
        self.heads = nn.ParameterList([nn.Parameter(weights[f"lin{tap}.weight"].reshape(-1)) for tap in range(5)])
        prefix = "features."
        self.features.load_state_dict(
            {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        )
        # The network wants ImageNet's normalisation; from [-1, 1] that is this shift and scale.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> LPIPS:
        """Stays in evaluation mode."""
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Empty: a checkpoint of the model that is trained with it need not carry 60 MB of VGG."""
        return kwargs.get("destination") or {}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        return

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if x.shape != y.shape or x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"LPIPS compares (B, 3, H, W) with the same, got {tuple(x.shape)} and {tuple(y.shape)}")
        distance = x.new_zeros(len(x), dtype=torch.float32)
        for a, b, head in zip(self._taps(x), self._taps(y), self.heads, strict=True):
            difference = (_unit(a) - _unit(b)).square()
            distance = distance + (difference * head.view(1, -1, 1, 1)).sum(1).mean(dim=(1, 2)).float()
        return distance

    def _taps(self, images: Tensor) -> list[Tensor]:
        x = (images - self.shift) / self.scale
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS[self.net]:
                found.append(x)
        return found


def _unit(features: Tensor) -> Tensor:
    """Channel vectors of unit length; the small number is lpips' own and keeps all-zero vectors at zero."""
    # vector_norm has gradient zero at an all-zero vector, where the root of a sum of squares has NaN.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in _VGG:
        if isinstance(width, int):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


class _LPIPSMetric(PairMetric):
    """Mean LPIPS of the uint8 images, scaled back to [-1, 1]."""

    direction = "lower"
    net: Literal["alex", "vgg"]

    def __init__(self) -> None:
        self._module: LPIPS | None = None

    def per_image(self, reference: Tensor, sample: Tensor) -> Tensor:
        from tokbench.data.pixels import to_float

        check_pair(self.label, reference, sample)
        if self._module is None:
            self._module = LPIPS(self.net)
        module = self._module.to(reference.device)
        with torch.no_grad():
            return module(to_float(reference), to_float(sample))


@register
class LPIPSAlex(_LPIPSMetric):
    """LPIPS 0.1 on AlexNet, the variant papers report."""

    name, label, net, weights = "lpips", "LPIPS (alex)", "alex", ("lpips-alex",)
    min_size = 32


@register
class LPIPSVGG(_LPIPSMetric):
    """LPIPS 0.1 on VGG-16, the variant tokenizers are trained with."""

    name, label, net, weights = "lpips_vgg", "LPIPS (vgg)", "vgg", ("lpips-vgg",)
    min_size = 16
