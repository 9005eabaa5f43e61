"""A palette: K fixed vectors, found once by k-means. Of RGB, the first stage of image GPT and of VQ-GAN at f = 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from quantizers.base import Quantizer
from quantizers.checks import require_between
from quantizers.codebook import Codebook
from quantizers.functional.gradient import mean_square, straight_through
from quantizers.registry import register
from quantizers.tunable import Between
from quantizers.vq import one_code_configurations


@register("palette")
class Palette(Quantizer):
    """The nearest of ``codebook_size`` vectors that k-means finds in the first training batches, and that then stay.

    k-means is Lloyd's, ten steps from vectors drawn at random, as CompVis/taming-transformers' (``mingpt.py:KMeans``),
    over the joined batches of all processes, until ten vectors a code have been seen.

    Args:
        dim: channels of z; 3 where z are pixels.
        codebook_size: K; 512 in both papers.
        commitment_weight: of |sg[e] - z|^2, which counts where something before the palette learns.

    losses: ``commitment``.
    """

    summary = "nearest of K colours, or other vectors, fixed after k-means over the data"
    paper = "Chen et al. 2020 (image GPT), section 3.3; Esser et al. 2021, arXiv:2012.09841, section 4.3"
    tunable = (Between("commitment_weight", 0.01, 4.0),)

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        commitment_weight: float = 0.25,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim, code_dim=dim, codebook_sizes=[codebook_size], channel_first=channel_first, check_finite=check_finite
        )
        require_between("Palette", 0, float("inf"), commitment_weight=commitment_weight)
        self.commitment_weight = commitment_weight
        self.codes = Codebook(codebook_size, dim, kmeans_init=True)  # of which only the start is used

    @property
    def codebook(self) -> Tensor:
        """(K, d)."""
        return self.codes.vectors

    def load_codebook(self, codebook: Tensor) -> None:
        """Take over vectors (K, d)."""
        self.codes.load(codebook)

    def _encode(self, z: Tensor) -> Tensor:
        return self.codes.nearest(z)[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return self.codes.lookup(codes)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self.codes.prepare(z)
        codes = self._encode(z)
        chosen = self._decode(codes)
        commitment, _ = mean_square(z, z.detach() - chosen)
        loss = self.commitment_weight * commitment
        return straight_through(z, chosen), codes, loss, {"commitment": commitment.detach()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [{"dim": 3, "codebook_size": 8}]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return one_code_configurations(cls.name, codebook_size, depth, bits)
