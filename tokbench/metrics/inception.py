"""The Inception network of the FID paper, as torch-fidelity runs it (TensorFlow 1's resize, uint8 in)."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from tokbench import weights
from tokbench.metrics.extractors import exact_convolutions, register_extractor

NAME = "inception-fid"


class InceptionFID:
    """pt_inception-2015-12-05 (Heusel et al., 2017): the 2048 activations before the classifier.

    The layers, the resize to 299 x 299 and the scaling are torch-fidelity's ``FeatureExtractorInceptionV3``.
    """

    name = NAME

    def __init__(self, device: torch.device, layer: int = 2048) -> None:
        self.dim = layer  # 64, 192 and 768 are the earlier layers that torch-fidelity names by their channels
        self.network = build(weights.load(NAME), [str(layer)]).to(device)
        self.digest = weights.digest(NAME)
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        with exact_convolutions():
            return self.network(images.to(self.device))[0]


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


@register_extractor(NAME)
def _inception(device: torch.device) -> InceptionFID:
    return InceptionFID(device)
