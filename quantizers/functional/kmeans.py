"""k-means, for codebooks that start on the data."""

from __future__ import annotations

import torch
from torch import Tensor

from quantizers.checks import raise_unless_finite, require_positive
from quantizers.functional.nearest import nearest_code


@torch.no_grad()
def kmeans(
    z: Tensor,
    k: int,
    *,
    initial: Tensor | None = None,
    iterations: int = 10,
    spherical: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Lloyd's k-means: z (N, d) -> centroids (k, d) and their sizes (k,), fp32.

    Starts on ``initial`` (k, d), or on k vectors drawn without replacement (with, and a little noise, where N < k). A
    centroid that loses all its vectors is put on the vector farthest from its own centroid. ``spherical`` keeps
    centroids at length 1.
    ``generator``: on the CPU, whatever the device of z, so that all processes can draw alike.

    Raises:
        ValueError: no vectors, values that are not finite, k below 1, or an ``initial`` of another shape.
    """
    if z.dim() != 2 or not len(z):
        raise ValueError(f"k-means is over vectors (N, d), at least one, not {tuple(z.shape)}")
    require_positive("k-means", k=k)
    raise_unless_finite(z, "k-means")
    z = z.float()
    centroids = _drawn(z, k, generator) if initial is None else initial.to(z)
    if centroids.shape != (k, z.shape[1]):
        raise ValueError(f"initial centroids {tuple(centroids.shape)}: k and the vectors need {(k, z.shape[1])}")
    sizes = z.new_zeros(k)
    for _ in range(iterations):
        index = nearest_code(z, centroids)
        sums, sizes = sum_by_code(z, index, k)
        empty = (sizes == 0).nonzero()[:, 0]
        centroids = sums / sizes.clamp_min(1)[:, None]
        if len(empty):
            far = (z - centroids[index]).square().sum(1).argsort(descending=True, stable=True)
            centroids[empty] = z[far[torch.arange(len(empty), device=z.device) % len(z)]]
        if spherical:
            centroids = torch.nn.functional.normalize(centroids, dim=-1)
    return centroids, sizes


def _drawn(z: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    centroids = z[torch.randperm(len(z), generator=generator)[:k].to(z.device)]
    if len(z) >= k:
        return centroids
    more = torch.randint(len(z), (k - len(z),), generator=generator).to(z.device)
    noise = torch.randn(k - len(z), z.shape[1], generator=generator).to(z.device)
    return torch.cat([centroids, z[more] + 0.01 * z.std() * noise])


def sum_by_code(z: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """z (N, d), index (N,) -> by code the sum of its vectors (size, d) and their number (size,), without a one-hot."""
    sums = z.new_zeros(size, z.shape[1]).index_add_(0, index, z)
    counts = z.new_zeros(size).index_add_(0, index, z.new_ones(len(index)))
    return sums, counts
