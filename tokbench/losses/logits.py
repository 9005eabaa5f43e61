"""What a classifier says of the original and of the reconstruction: MAGVIT's perceptual loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.loss import LogitsConfig
from tokbench.generators.judges import load_classifier


class LogitDifference(nn.Module):
    """Mean squared difference of a frozen classifier's logits, over images and classes.

    Images are resized whole, bilinearly (google-research/magvit, ``losses.py``: ResNet-50 at 224 pixels).

    Raises:
        TokbenchError: no such network, or its weights are not to be had.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: LogitsConfig) -> None:
        super().__init__()
        network, expects = load_classifier(config.net, "loss.logits.net")
        self.network, self.size = network.requires_grad_(False), config.size
        for name, key in (("mean", "mean"), ("deviation", "std")):
            self.register_buffer(name, torch.tensor(expects[key]).view(1, 3, 1, 1))
        self.train(False)

    def train(self, mode: bool = True) -> LogitDifference:
        """It never trains: its normalisation is by the statistics that it came with."""
        return super().train(False)

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Two times (B, C, H, W) in [-1, 1], RGB or grey -> a number, with its gradient to ``reconstruction``."""
        with torch.no_grad():
            wanted = self.logits(images)
        return (self.logits(reconstruction) - wanted).square().mean()

    def logits(self, images: Tensor) -> Tensor:
        """float32 (B, classes)."""
        side = (self.size, self.size)
        x = images.expand(-1, 3, -1, -1) / 2 + 0.5
        if x.shape[2:] != side:
            x = F.interpolate(x, side, mode="bilinear", antialias=True, align_corners=False)
        logits: Tensor = self.network((x - self.mean) / self.deviation)
        return logits.float()
