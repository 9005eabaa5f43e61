"""MCQ: each group of channels has a small codebook of its own on the unit sphere. UniTok."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from quantizers.grouped import Grouped, grouped_configurations
from quantizers.registry import register
from quantizers.tunable import Between, OneOf
from quantizers.vq import VQ


@register("mcq")
class MCQ(Grouped):
    """Multi-codebook quantization: ``Grouped`` over VQ by gradient with vectors of length 1.

    Args:
        dim: channels of z, divisible by ``groups``.
        codebook_size: K, of each group's codebook (UniTok's ``vocab_size`` is K * groups).
        groups: G (``num_codebooks``).
        codebook_dim: channels of a group's code vectors, with learned linear maps to and from dim / groups.
        commitment_weight, codebook_weight: of |sg[e] - z|^2 and of |e - sg[z]|^2, z and e of length 1.
        entropy_weight: of per-sample entropy - codebook entropy of softmax(-|z - e|^2 / entropy_temperature).
        entropy_temperature: 0.01 in the official code.
        kmeans_init: start from k-means over the first batches.

    losses: ``commitment``, ``codebook``; with an entropy weight ``per_sample_entropy``, ``codebook_entropy`` in nats.
    """

    summary = "a small codebook on the unit sphere for each group of channels"
    paper = "Ma et al. 2025, arXiv:2502.20321"
    tunable = (
        Between("commitment_weight", 0.01, 4.0),
        Between("codebook_weight", 0.01, 4.0),
        Between("entropy_weight", 0.0, 0.3, "linear"),
        Between("entropy_temperature", 0.003, 3.0),
        OneOf("kmeans_init", (False, True)),
    )

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        groups: int = 8,
        *,
        codebook_dim: int | None = None,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        entropy_weight: float = 0.0,
        entropy_temperature: float = 0.01,
        kmeans_init: bool = False,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            "vq",
            groups,
            dim,
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            l2_norm=True,
            codebook_update="gradient",
            commitment_weight=commitment_weight,
            codebook_weight=codebook_weight,
            entropy_weight=entropy_weight,
            entropy_temperature=entropy_temperature,
            kmeans_init=kmeans_init,
            channel_first=channel_first,
            check_finite=check_finite,
        )

    def load_codebook(self, codebook: Tensor) -> None:
        """Take over the code vectors (G, K, d)."""
        if codebook.ndim != 3 or len(codebook) != self.groups:
            raise ValueError(f"the codebooks are those of {self.groups} groups, not {tuple(codebook.shape)}")
        for part, vectors in zip(self.parts, codebook, strict=True):
            cast("VQ", part).load_codebook(vectors)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 12, "codebook_size": 16, "groups": 3},
            {"dim": 8, "codebook_size": 10, "groups": 2, "codebook_dim": 3, "entropy_weight": 0.1},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return grouped_configurations(cls.name, codebook_size, depth, bits)
