"""A small data set, and a tokenizer whose codes and reconstructions are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tokbench.data.base import ImageDataset
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.models.prefixes import Prefix


class Pictures(ImageDataset):
    """``count`` smooth random images of ``size``; those in ``broken`` cannot be read."""

    def __init__(self, count: int, size: int = 16, seed: int = 0, broken: tuple[int, ...] = ()) -> None:
        super().__init__("pictures", "eval", View(size, "none"))
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (count, size // 4, size // 4, 3), dtype=np.uint8)
        self.arrays = [np.array(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
        self.seed, self.broken = seed, broken

    def __len__(self) -> int:
        return len(self.arrays)

    def raw_sample(self, index: int) -> tuple[Image.Image, int, str]:
        if index in self.broken:
            raise UnreadableImage(f"{index:05d}", "made to fail")
        return Image.fromarray(self.arrays[index]), 0, f"{index:05d}"

    @property
    def content(self) -> str:
        return f"images {len(self)} {self.seed}"

    def batch(self) -> Tensor:
        """All readable images: uint8 (N, 3, S, S)."""
        arrays = [a for i, a in enumerate(self.arrays) if i not in self.broken]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


class GreyTokenizer(nn.Module):
    """Codes are the mean brightness of 4 x 4 patches, in two digits: depth 1 coarse, depth 2 the rest."""

    sizes = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.quantizer = SimpleNamespace(codebook_sizes=self.sizes)

    def encode(self, images: Tensor) -> Tensor:
        grey = ((nn.functional.avg_pool2d(images, 4).mean(1) + 1) / 2 * 127.999).clamp(0, 127).long()
        return torch.stack([grey // 16, grey % 16], dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        value = codes[..., 0] * 16 + (codes[..., 1] if codes.shape[-1] > 1 else 8)
        image = (value.float() / 127 * 2 - 1)[:, None].expand(-1, 3, -1, -1)
        return nn.functional.interpolate(image, scale_factor=4, mode="nearest")

    def prefixes(self) -> list[Prefix]:
        return [Prefix(None, 1), Prefix(None, 2)]

    def rate(self, image_size: int) -> dict[str, Any]:
        side = image_size // 4
        return {
            "tokens": [side, side, 2],
            "codebook_sizes": list(self.sizes),
            "bits_per_position": 7.0,
            "bits_per_image": 7.0 * side * side,
            "bits_per_pixel": 7 / 16,
        }


class FakeSpace:
    """A feature space of 12 dimensions that needs no weights: fixed random filters, and a count of images seen."""

    name, dim, digest = "inception-fid", 12, "fake"

    def __init__(self) -> None:
        self.seen = 0
        self.filters = torch.randn(self.dim, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def __call__(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return nn.functional.conv2d(images.float() / 255, self.filters, stride=4).relu().mean(dim=(2, 3))
