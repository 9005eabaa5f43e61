"""Fréchet distance in DINOv2's features (Stein et al., 2023, "Exposing flaws of generative model evaluation
metrics and their unfair treatment of diffusion models")."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from tokbench.config.grid import Size
from tokbench.errors import TokbenchError
from tokbench.metrics.extractors import exact_convolutions, register_extractor
from tokbench.metrics.frechet import FrechetMetric
from tokbench.metrics.registry import register
from tokbench.weights.catalogue import DINOV2_FETCH
from tokbench.weights.store import content_hash

NAME = "dinov2-vitl14"


class DINOv2:
    """The class token of DINOv2 ViT-L/14, as torch-fidelity runs it: TensorFlow 1's bilinear resize to 224, float32."""

    name = NAME
    dim = 1024

    def __init__(self, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

        try:
            network = FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
        # torch.hub asks its publisher which branch is current, and reads what it has when nobody answers.
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise TokbenchError(f"torch.hub did not load DINOv2 ({str(error).splitlines()[0]})") from None
        _check_filled(network.model, checkpoint())
        self.network = network.to(device)
        self.digest = content_hash(self.network.state_dict())
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        with exact_convolutions():
            return self.network(images.to(self.device))[0]


def checkpoint() -> Path:
    """Where torch.hub keeps the weights once they were fetched."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "dinov2_vitl14_pretrain.pth"


def code() -> Path | None:
    """Where torch.hub keeps the network's code, which its publisher ships beside the weights."""
    return next(iter(sorted(Path(torch.hub.get_dir()).glob("facebookresearch_dinov2_*/hubconf.py"))), None)


def _check_filled(model: torch.nn.Module, file: Path) -> None:
    """TokbenchError unless every weight is the file's: the publisher's loader skips names it does not know."""
    found = torch.load(file, map_location="cpu", weights_only=True)
    for name, tensor in model.state_dict().items():
        if name not in found or found[name].shape != tensor.shape or not torch.equal(found[name], tensor.cpu()):
            raise TokbenchError(f"{file}: not the weights of DINOv2 ViT-L/14 ({name} is missing or another)")


@register_extractor(NAME)
def _dinov2(device: torch.device) -> DINOv2:
    return DINOv2(device)


@register
class FDDINOv2(FrechetMetric):
    """Fréchet distance in DINOv2's space, which follows human judgement more closely than Inception's.

    Its weights (1.2 GB) and code come through torch.hub and are used once they are there; never fetched unasked.
    """

    name = "fd_dinov2"
    tasks = ("reconstruction", "generation")
    extractor, default = NAME, False

    def unavailable(self, size: Size | None = None) -> str | None:
        if (reason := super().unavailable(size)) is not None:
            return reason
        if checkpoint().is_file() and code() is not None:
            return None
        what = "weights" if not checkpoint().is_file() else "code"
        return f"no DINOv2 {what} in torch.hub's cache: run {DINOV2_FETCH}"
