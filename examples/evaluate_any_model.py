"""Someone's model under our protocol: anything with codes and a way back, measured and recorded like every tokenizer.

A model whose format tokbench reads needs none of this: `tokbench import`, then `tokbench evaluate`.

    python examples/evaluate_any_model.py [SPEC] [LIMIT]
"""

import math
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tokbench
from tokbench.metrics import evaluate_tokenizer
from tokbench.models.prefixes import Prefix
from tokbench.results import environment
from tokbench.results.record import Record
from tokbench.results.store import Store


class TheirModel(nn.Module):
    """In place of a model of yours: 8x8 patches by their mean colour, 5 bits for each channel."""

    patch, sizes = 8, [32, 32, 32]

    def encode(self, images: Tensor) -> Tensor:
        """float (B, 3, H, W) in [-1, 1] -> codes (B, h, w, D)."""
        return ((F.avg_pool2d(images, self.patch) + 1) * 15.5).round().clamp(0, 31).long().movedim(1, -1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, h, w, D) -> float (B, 3, H, W) in [-1, 1]."""
        return F.interpolate(codes.movedim(-1, 1) / 15.5 - 1, scale_factor=self.patch, mode="bilinear")

    def prefixes(self) -> list[Prefix]:
        """Parts of the codes that decode: here only all of them."""
        return [Prefix(None, len(self.sizes))]

    def rate(self, size: int) -> dict[str, Any]:
        """What the codes of an image of ``size`` pixels cost."""
        side, bits = size // self.patch, math.fsum(map(math.log2, self.sizes))
        whole = side * side * bits
        rates = {"bits_per_position": bits, "bits_per_image": whole, "bits_per_pixel": whole / size**2}
        return {"tokens": [side, side, len(self.sizes)], "codebook_sizes": self.sizes, **rates}


spec, limit = (sys.argv[1:] + ["photos", "32"][len(sys.argv) - 1 :])[:2]
images = tokbench.open_images(spec, "eval", image_size=64, limit=int(limit))  # uint8, under the protocol's crop
found = evaluate_tokenizer(TheirModel(), images, metrics=["psnr", "ssim", "usage"], device=torch.device("cpu"))
for name, metric in found.metrics.items():
    print(f"{name}: {metric.value:.4g} (n = {metric.n}, {metric.version})")

record = Record.of(
    id=environment.new_id(),
    cell=environment.content_hash({"model": "theirs", "data": images.fingerprint}),
    name="theirs",
    quantizer={"name": "mean colour"},
    data=found.data,
    rate=found.rate,
    metrics=found.metrics,
    timing=found.timing,
    **environment.provenance(),
)
Store("runs/theirs/runs.jsonl").append(record)
print(f"{found.rate.bits_per_pixel:.3f} bits per pixel; the record is in runs/theirs: tokbench table runs/theirs")
