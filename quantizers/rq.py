"""RQ: each code refines what the ones before it left over. RQ-VAE."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from quantizers.base import Quantizer
from quantizers.checks import require_between, require_choice, require_size_or_bits
from quantizers.codebook import Codebook
from quantizers.functional.bits import MOST_BITS
from quantizers.functional.gradient import mean_square, rotate_to, straight_through
from quantizers.registry import register
from quantizers.soft import sample_codes, soft_assignment
from quantizers.tunable import Between, OneOf


@register("rq")
class RQ(Quantizer):
    """Residual quantization: r_0 = z, k_d = nearest(r_{d-1}), r_d = r_{d-1} - e(k_d).

    Args:
        dim: channels of z.
        codebook_size: K, of each depth.
        depth: D, codes per position.
        shared_codebook: one codebook for all depths (the paper's choice) or one each.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``.
        decay, eps: of the codebook's moving average.
        commitment_weight: of the commitment loss, the mean over depths d of mean((z - sg[z_hat(d)])^2).
        restart_threshold: hits a batch, on average, below which a code restarts on a random residual; 0 is never.
        update_order: "joint" updates a shared codebook once, after the last depth, so that in training too
            ``quantized == decode(indices)``. "sequential" updates between depths, as Kakao's code does.
        kmeans_init: start from k-means over the residuals of the first batches.
        depth_dropout: chance that a sample of the batch is decoded from a random prefix of its codes in training,
            which makes every prefix a usable code.
        rotation_trick: pass gradients by the rotation that carries z onto the sum of its codes instead of straight
            through (Fifty et al. 2024, arXiv:2410.06424). "per_depth" carries each residual onto its code and adds the
            D gradients up, as vector-quantize-pytorch does.

    losses: ``commitment`` and ``commitment_per_depth`` (D,).
    """

    summary = "D codes per position, each the nearest to what is left over; one shared codebook"
    paper = "Lee et al. 2022, arXiv:2203.01941"
    tunable = (
        Between("commitment_weight", 0.01, 4.0),
        Between("decay", 0.8, 0.999, "linear"),
        Between("restart_threshold", 0.01, 4.0),
        OneOf("shared_codebook", (True, False)),
        OneOf("kmeans_init", (False, True)),
    )
    decodes_prefix = True

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        depth: int,
        shared_codebook: bool = True,
        *,
        codebook_dim: int | None = None,
        decay: float = 0.99,
        eps: float = 1e-5,
        commitment_weight: float = 0.25,
        restart_threshold: float = 1.0,
        update_order: Literal["joint", "sequential"] = "joint",
        kmeans_init: bool = False,
        depth_dropout: float = 0.0,
        rotation_trick: bool | Literal["per_depth"] = False,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim,
            code_dim=dim if codebook_dim is None else codebook_dim,
            codebook_sizes=[codebook_size] * depth,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        require_choice("RQ", "update_order", update_order, ("joint", "sequential"))
        require_between("RQ", 0, math.inf, commitment_weight=commitment_weight)
        require_between("RQ", 0, 1, depth_dropout=depth_dropout)
        if rotation_trick == "per_depth" and depth_dropout:
            raise ValueError('RQ: rotation_trick="per_depth" rotates at every depth: take true with depth_dropout')
        self.rotation_trick = rotation_trick
        self.depth, self.shared_codebook, self.update_order = depth, shared_codebook, update_order
        self.commitment_weight, self.depth_dropout = commitment_weight, depth_dropout
        self.codes = nn.ModuleList(
            Codebook(
                codebook_size,
                self.code_dim,
                decay=decay,
                eps=eps,
                restart_threshold=restart_threshold,
                kmeans_init=kmeans_init,
            )
            for _ in range(1 if shared_codebook else depth)
        )

    def codebook_at(self, depth: int) -> Codebook:
        """The codebook of a depth, counted from 0."""
        book = self.codes[0 if self.shared_codebook else depth]
        assert isinstance(book, Codebook)
        return book

    @property
    def codebook(self) -> Tensor:
        """(K, d) where it is shared, else (D, K, d)."""
        books = [self.codebook_at(d).vectors for d in range(len(self.codes))]
        return books[0] if self.shared_codebook else torch.stack(books)

    def load_codebook(
        self, codebook: Tensor, *, cluster_size: Tensor | None = None, embed_sum: Tensor | None = None
    ) -> None:
        """Take over code vectors (K, d), or (D, K, d) for separate codebooks; likewise the moving average's state."""
        if self.shared_codebook:
            self.codebook_at(0).load(codebook, cluster_size, embed_sum)
            return
        wanted = (self.depth, self.codebook_sizes[0], self.code_dim)
        if tuple(codebook.shape) != wanted:
            raise ValueError(f"the codebooks are {wanted}, not {tuple(codebook.shape)}")
        for d in range(self.depth):
            self.codebook_at(d).load(
                codebook[d],
                None if cluster_size is None else cluster_size[d],
                None if embed_sum is None else embed_sum[d],
            )

    @torch.no_grad()
    def soft_targets(self, z: Tensor, temperature: float = 1.0) -> Tensor:
        """softmax over k of -|r_{d-1} - e_k|^2 / temperature, residuals along the hard codes: (B, ..., D, K)."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            residual, soft = self._into_code_space(flat), []
            for d in range(self.depth):
                book = self.codebook_at(d)
                soft.append(soft_assignment(residual, book.vectors, temperature))
                residual = residual - book.lookup(book.nearest(residual))
            return rearrange(soft, "d b t k -> b t d k").reshape(*positions, self.depth, -1)

    @torch.no_grad()
    def sample(self, z: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Stochastic codes (B, ..., D): each drawn from its soft target, residuals along the *drawn* codes."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            residual, codes = self._into_code_space(flat), []
            for d in range(self.depth):
                drawn, vectors = sample_codes(residual, self.codebook_at(d).vectors, temperature, generator)
                codes.append(drawn)
                residual = residual - vectors
            return rearrange(codes, "d b t -> b t d").reshape(*positions, self.depth)

    def _encode(self, z: Tensor) -> Tensor:
        residual, codes = z, []
        for d in range(self.depth):
            book = self.codebook_at(d)
            codes.append(book.nearest(residual))
            residual = residual - book.lookup(codes[-1])
        return rearrange(codes, "d b t -> b t d")

    def _embed(self, codes: Tensor) -> Tensor:
        if self.shared_codebook:
            return self.codebook_at(0).lookup(codes)
        return torch.stack([self.codebook_at(d).lookup(codes[..., d]) for d in range(codes.shape[-1])], dim=-2)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            residuals, codes = [z.detach()], []  # residuals[d] is z - z_hat(d)
            for d in range(self.depth):
                book = self.codebook_at(d)
                if d < len(self.codes):
                    book.prepare(residuals[d])
                codes.append(book.nearest(residuals[d]))
                residuals.append(residuals[d] - book.lookup(codes[d]))
                if self.update_order == "sequential" or not self.shared_codebook:
                    book.learn([(residuals[d], codes[d])])
            quantized = self._prefixes(z, residuals)
        commitment, per_depth = mean_square(z, *residuals[1:])
        if self.update_order == "joint" and self.shared_codebook:
            self.codebook_at(0).learn(list(zip(residuals[:-1], codes, strict=True)))
        losses = {"commitment": commitment.detach(), "commitment_per_depth": per_depth}
        stacked = rearrange(codes, "d b t -> b t d")
        return self._pass_on(z, quantized, residuals), stacked, self.commitment_weight * commitment, losses

    def _pass_on(self, z: Tensor, quantized: Tensor, residuals: list[Tensor]) -> Tensor:
        """``quantized`` with its gradient to z."""
        if self.rotation_trick == "per_depth":
            steps = zip(residuals[:-1], residuals[1:], strict=True)
            return torch.stack([rotate_to(straight_through(z, r), r - after) for r, after in steps]).sum(0)
        return rotate_to(z, quantized) if self.rotation_trick else straight_through(z, quantized)

    def _prefixes(self, z: Tensor, residuals: list[Tensor]) -> Tensor:
        """The decoded map; with depth dropout, some samples (first axis) from a prefix of their codes."""
        quantized = z - residuals[-1]
        if self.depth_dropout:
            kept = torch.randint(1, self.depth + 1, (len(z),))
            kept[torch.rand(len(z)) >= self.depth_dropout] = self.depth
            for b, depth in enumerate(kept.tolist()):
                quantized[b] = z[b] - residuals[depth][b]
        return quantized

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16, "depth": 3},
            {
                "dim": 8,
                "codebook_size": 10,
                "depth": 2,
                "shared_codebook": False,
                "depth_dropout": 0.5,
                "rotation_trick": True,
            },
            {"dim": 12, "codebook_size": 16, "depth": 4, "codebook_dim": 4, "update_order": "sequential"},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        require_size_or_bits(cls.name, codebook_size, bits)
        if bits is None:
            return [{"codebook_size": codebook_size, "depth": 4 if depth is None else depth}]
        # Codebooks of fewer than 16 vectors are not codebooks that anyone trains; ask for the depth to have them.
        depths = [d for d in (2, 4, 8) if bits % d == 0 and 4 <= bits // d <= MOST_BITS] if depth is None else [depth]
        if not depths or bits % depths[0] or bits // depths[0] > MOST_BITS:
            asked = "2, 4 or 8" if depth is None else str(depth)
            raise ValueError(f"rq cannot split {bits} bits evenly over {asked} codes of 4 to {MOST_BITS} bits")
        return [{"codebook_size": 2 ** (bits // d), "depth": d} for d in depths]
