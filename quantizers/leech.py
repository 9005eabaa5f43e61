"""Leech: the nearest of the 196,560 shortest vectors of the Leech lattice, fixed. Spherical Leech quantization."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.checks import require_one_code
from quantizers.constant import Constant
from quantizers.functional.bits import index_to_bits
from quantizers.functional.gradient import straight_through
from quantizers.functional.nearest import most_aligned_code
from quantizers.registry import register

SIZE, CHANNELS = 196_560, 24
_GENERATOR = 0b110001110101  # x^11 + x^10 + x^6 + x^5 + x^4 + x^2 + 1 divides x^23 - 1 over two elements
_FACTORS = (432, 455)  # of SIZE, for generators


@register("leech")
class Leech(Constant):
    """z / |z| in 24 channels to the nearest of the 196,560 vectors around the origin of the densest lattice there.

    Args:
        dim: channels of z; None is 24. Otherwise learned linear maps lie on either side.

    Nothing is learned and there is nothing to add to the training loss: ``loss`` is 0. ``quantized`` has length 1 in
    code space; two codes are at least 60 degrees apart. 17.58 bits a position; ``subcodes`` are (k mod 432, k // 432).
    """

    summary = "the 196,560 shortest vectors of the Leech lattice: fixed codes, even on the sphere, no loss"
    paper = "Zhao et al. 2025, arXiv:2512.14697"

    vectors: Tensor

    def __init__(self, dim: int | None = None, *, channel_first: bool = False, check_finite: bool = True) -> None:
        super().__init__(
            CHANNELS if dim is None else dim,
            code_dim=CHANNELS,
            codebook_sizes=[SIZE],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        # Integers, which no cast of the module rounds.
        self.register_buffer("vectors", torch.empty(SIZE, CHANNELS, dtype=torch.int8), persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The lattice's vectors, which no state dict holds."""
        self.vectors.copy_(minimal_vectors())

    @property
    def codebook(self) -> Tensor:
        """(196560, 24), of length 1."""
        return self.vectors.float() / 32**0.5

    def subcodes(self, codes: Tensor) -> Tensor:
        return torch.cat([codes % _FACTORS[0], codes // _FACTORS[0]], dim=-1)

    def join(self, subcodes: Tensor) -> Tensor:
        return subcodes[..., :1] + _FACTORS[0] * subcodes[..., 1:]

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return _FACTORS

    def _normalize(self, z: Tensor) -> Tensor:
        # By the largest value first: the squares of large ones would overflow.
        return F.normalize(z / z.detach().abs().amax(-1, keepdim=True).clamp_min(1e-37), dim=-1)

    def _encode(self, z: Tensor) -> Tensor:
        # To a z of zeros all codes are equally near: the first of them, without settling that among 196,560.
        z = torch.where((z == 0).all(-1, keepdim=True), self.vectors[0].float(), z)
        return most_aligned_code(z, self.vectors.float())[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return self.vectors[codes].float() / 32**0.5

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        codes = self._encode(z.detach())
        return straight_through(z, self._decode(codes)), codes, z.new_zeros(()), {}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [{"dim": 24}, {"dim": 8}]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        """Its one vocabulary, within a factor of 2 of what is asked for."""
        require_one_code(cls.name, codebook_size, depth, bits)
        wanted = math.log2(codebook_size) if codebook_size is not None else float(bits or 0)
        if abs(math.log2(SIZE) - wanted) > 1:
            raise ValueError(f"leech has {SIZE:,} codes, 2^17.58, and not 2^{wanted:g}")
        return [{}]


@functools.cache
def minimal_vectors() -> Tensor:
    """The shortest vectors of the Leech lattice times sqrt(8), int8 (196560, 24), of squared length 32.

    From the Golay code, after Conway and Sloane, Sphere Packings, Lattices and Groups, chapter 4, section 11:
    1,104 of shape (+-4^2, 0^22); 97,152 (+-2^8, 0^16) on the 759 octads with an even number of minus signs; 98,304
    (-3, 1^23) with the -3 in any place and the signs changed on any codeword.
    """
    with torch.device("cpu"):
        golay = golay_codewords()
        pairs = torch.zeros(276, 4, CHANNELS, dtype=torch.int8)
        for row, (i, j) in zip(pairs, itertools.combinations(range(CHANNELS), 2), strict=True):
            row[:, i], row[:, j] = torch.tensor([[4, 4, -4, -4], [4, -4, 4, -4]], dtype=torch.int8)
        octads = golay[golay.sum(1) == 8].nonzero()[:, 1].reshape(759, 1, 8)
        negative = index_to_bits(torch.arange(2**8), 8)
        even = negative[negative.sum(1) % 2 == 0]
        twos = torch.zeros(759, len(even), CHANNELS, dtype=torch.int8)
        twos.scatter_(2, octads.expand(-1, len(even), -1), (2 - 4 * even.to(torch.int8)).expand(759, -1, -1))
        signs = 1 - 2 * golay.to(torch.int8)
        odd = signs[:, None] * (1 - 4 * torch.eye(CHANNELS, dtype=torch.int8))
        return torch.cat([part.reshape(-1, CHANNELS) for part in (pairs, twos, odd)])


def golay_codewords() -> Tensor:
    """The extended binary Golay code: bool (4096, 24)."""
    message = index_to_bits(torch.arange(2**12), 12).long()
    generator = index_to_bits(torch.tensor(_GENERATOR), 12).long()
    cyclic = torch.zeros(2**12, 23, dtype=torch.int64)
    for i in range(12):
        cyclic[:, i : i + 12] += message[:, i : i + 1] * generator
    cyclic %= 2
    return torch.cat([cyclic, cyclic.sum(1, keepdim=True) % 2], dim=1).bool()
