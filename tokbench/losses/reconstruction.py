"""How far the reconstruction is from the original: pixels, LPIPS and a classifier's logits, or labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.loss import LossConfig
from tokbench.data.pixels import frames


class ReconstructionLoss(nn.Module):
    """``nll = l1 |x - x'| + l2 (x - x')^2 + w LPIPS(x, x') + v (f(x) - f(x'))^2``, each a mean over the batch; f are a
    classifier's logits.

    The name is taming's (``vqperceptual.py``): up to constants the negative log likelihood under a Laplacian or a
    Gaussian. Raises TokbenchError where a network's weights are not there.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.perceptual: nn.Module | None = None
        if config.perceptual.net != "none":
            from tokbench.metrics.lpips import LPIPS

            self.perceptual = LPIPS(net=config.perceptual.net)
        self.logits: nn.Module | None = None
        if config.logits is not None:
            from tokbench.losses.logits import LogitDifference

            self.logits = LogitDifference(config.logits)

    def forward(self, reconstruction: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images or clips in [-1, 1], both -> nll with its gradient; ``l1``, ``l2``, ``perceptual`` and ``logits``
        unweighted. Of labels: see ``of_labels``."""
        if self.config.reconstruction != "pixels":
            return of_labels(reconstruction.float(), images, binary=self.config.reconstruction == "binary")
        difference = reconstruction.float() - images
        l1, l2 = difference.abs().mean(), difference.square().mean()
        terms = {"l1": l1, "l2": l2}
        weighted = [(self.config.l1, l1), (self.config.l2, l2)]
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(frames(images), frames(reconstruction)).mean()
            weighted.append((self.config.perceptual.weight, terms["perceptual"]))
        if self.logits is not None and self.config.logits is not None:
            terms["logits"] = self.logits(frames(images), frames(reconstruction))
            weighted.append((self.config.logits.weight, terms["logits"]))
        parts = [value if weight == 1 else weight * value for weight, value in weighted if weight]
        nll = parts[0]
        for part in parts[1:]:
            nll = nll + part
        return nll, {name: value.detach() for name, value in terms.items()}


def of_labels(logits: Tensor, onehot: Tensor, *, binary: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and one-hot labels (B, n, H, W) -> nll with its gradient, and ``accuracy``, the share of right pixels.

    The cross-entropy of a pixel's n classes (the text of VQ-GAN, arXiv:2012.09841), mean over pixels in nats; or
    ``binary``, the mean over classes and pixels of each class's own (CompVis/taming-transformers,
    ``losses/segmentation.py``).
    """
    labels = onehot.argmax(1)
    nll = F.binary_cross_entropy_with_logits(logits, onehot) if binary else F.cross_entropy(logits, labels)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return nll, {"binary_cross_entropy" if binary else "cross_entropy": nll.detach(), "accuracy": accuracy}
