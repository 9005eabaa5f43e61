"""The Inception network of the FID paper, as torch-fidelity runs it (TensorFlow 1's resize, uint8 in)."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from tokbench import weights
from tokbench.metrics.extractors import exact_convolutions, register_extractor

NAME = "inception-fid"
EARLIER = (64, 192, 768)
"""Layers before the last, by their channels: averaged over all places, as torch-fidelity names and defines them."""


class Inception:
    """pt_inception-2015-12-05 (Heusel et al., 2017): a pass goes as far as the last layer asked for, no further.

    The layers, the resize to 299 x 299 and the scaling are torch-fidelity's ``FeatureExtractorInceptionV3``.
    """

    def __init__(self, device: torch.device) -> None:
        network = build(weights.load(NAME), ["2048"]).to(device)
        # On a CPU channels-last and few images at a time, which stay in its cache, are two to three times as fast.
        on_cpu = device.type == "cpu"
        self.network = network.to(memory_format=torch.channels_last) if on_cpu else network  # type: ignore[call-overload]
        self.together = 4 if on_cpu else None
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor, layers: Sequence[int]) -> tuple[Tensor, ...]:
        """uint8 (B, 3, H, W) -> float32 (B, channels) of each of ``layers`` (64, 192, 768, 2048)."""
        self.network.features_list = [str(layer) for layer in layers]  # type: ignore[assignment]
        with exact_convolutions():
            parts = [self.network(part) for part in images.to(self.device).split(self.together or len(images))]
        return tuple(torch.cat(features) for features in zip(*parts, strict=True))


_in_use: WeakValueDictionary[tuple[str, str], Inception] = WeakValueDictionary()


def _shared(device: torch.device) -> Inception:
    """The network on ``device``: one for all its layers, as long as any of them is in use."""
    key = (str(device), weights.digest(NAME))
    network = _in_use.get(key) or Inception(device)
    _in_use[key] = network
    return network


class InceptionFID:
    """The features of one layer: of ``layer`` 2048, the activations before the classifier, FID is made."""

    def __init__(self, device: torch.device, layer: int = 2048) -> None:
        self.name = NAME if layer == 2048 else f"{NAME}-{layer}"
        self.dim = layer
        self.network = _shared(device)
        self.digest = weights.digest(NAME)

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images, [self.dim])[0]


def build(state: dict[str, Tensor], layers: list[str]) -> torch.nn.Module:
    """torch-fidelity's network filled with ``state``. Without a classifier in it ``fc`` stays zero: features only."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = dict(state)
    if "fc.weight" not in state:
        state["fc.weight"], state["fc.bias"] = torch.zeros(1008, 2048), torch.zeros(1008)
    # The class reads a file and takes no state; a file in memory keeps the disk out of it.
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", layers, feature_extractor_weights_path=file).eval()


register_extractor(NAME)(InceptionFID)
for _layer in EARLIER:
    register_extractor(f"{NAME}-{_layer}")(functools.partial(InceptionFID, layer=_layer))
