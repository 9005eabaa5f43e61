"""VQ: the nearest of K learned vectors. VQ-VAE, VQ-GAN, and the low-dimensional l2-normalised form of ViT-VQGAN."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.checks import require_between, require_choice, require_one_code
from quantizers.codebook import Codebook
from quantizers.functional.bits import MOST_BITS
from quantizers.functional.entropy import assignment_entropy
from quantizers.functional.gradient import mean_square, rotate_to, straight_through
from quantizers.registry import register
from quantizers.soft import sample_codes, soft_assignment
from quantizers.tunable import Between, OneOf, Tunable


@register("vq")
class VQ(Quantizer):
    """Vector quantization with one codebook of ``codebook_size`` vectors.

    Args:
        dim: channels of z.
        codebook_size: K.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``. Low values (8) keep
            large codebooks in use (Yu et al. 2021, arXiv:2110.04627, section 3.2).
        l2_norm: compare on the unit sphere (same paper; LlamaGen). ``quantized`` then has length 1 in code space.
        codebook_update: "ema" (moving average of the assigned vectors) or "gradient" (the codebook loss).
        decay, eps: of the moving average.
        commitment_weight: of |sg[e] - z|^2; 0.25 where nothing is said, as in the VQ-VAE paper, eq. 3.
        codebook_weight: of |e - sg[z]|^2, 1 where nothing is said. With "ema" there is no such loss.
        beta, beta_on: the original code's spelling of the same, for its settings: the weight of one of the two losses,
            the other having weight 1. taming-transformers' ``legacy=True``, with which the VQ-GAN weights were trained,
            is beta_on="codebook".
        restart_threshold: hits a batch, on average, below which a code restarts on a random vector of the batch;
            0 is never. None: 1 with "ema" (as Kakao's rq-vae-transformer), 0 with "gradient" (as taming).
        kmeans_init: start from k-means over the first batches.
        rotation_trick: pass gradients by rotation instead of straight through (Fifty et al. 2024, arXiv:2410.06424).
        entropy_weight: of per-sample entropy - codebook entropy of softmax(-|z - e|^2 / entropy_temperature).
        entropy_temperature: 0.01 in UniTok's code.

    losses: ``commitment``, and with "gradient" ``codebook``; with an entropy weight ``per_sample_entropy`` and
    ``codebook_entropy`` in nats.
    """

    summary = "nearest of K learned vectors"
    paper = "van den Oord et al. 2017, arXiv:1711.00937; Esser et al. 2021, arXiv:2012.09841"
    tunable: ClassVar[tuple[Tunable, ...]] = (
        Between("commitment_weight", 0.01, 4.0, unset=0.25),
        Between("decay", 0.8, 0.999, "linear"),
        Between("restart_threshold", 0.01, 4.0, unset=1.0),
        OneOf("kmeans_init", (False, True)),
        OneOf("rotation_trick", (False, True)),
    )

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        l2_norm: bool = False,
        codebook_update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        eps: float = 1e-5,
        commitment_weight: float | None = None,
        codebook_weight: float | None = None,
        beta: float | None = None,
        beta_on: Literal["commitment", "codebook"] = "commitment",
        restart_threshold: float | None = None,
        kmeans_init: bool = False,
        rotation_trick: bool = False,
        entropy_weight: float = 0.0,
        entropy_temperature: float = 0.01,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim,
            code_dim=dim if codebook_dim is None else codebook_dim,
            codebook_sizes=[codebook_size],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        if codebook_update == "ema" and (beta_on == "codebook" or codebook_weight is not None):
            given = 'beta_on="codebook"' if codebook_weight is None else "codebook_weight"
            raise ValueError(f'{self.label}: {given} needs codebook_update="gradient"; EMA has no such loss')
        if restart_threshold is None:
            restart_threshold = 1.0 if codebook_update == "ema" else 0.0
        self.commitment_weight, self.codebook_weight = loss_weights(
            self.label, commitment_weight, codebook_weight, beta, beta_on
        )
        require_between(self.label, 0, math.inf, entropy_weight=entropy_weight)
        require_between(self.label, 1e-6, math.inf, entropy_temperature=entropy_temperature)
        self.rotation_trick = rotation_trick
        self.entropy_weight, self.entropy_temperature = entropy_weight, entropy_temperature
        self.codes = Codebook(
            codebook_size,
            self.code_dim,
            update=codebook_update,
            decay=decay,
            eps=eps,
            restart_threshold=restart_threshold,
            kmeans_init=kmeans_init,
            l2_norm=l2_norm,
        )

    @property
    def codebook(self) -> Tensor:
        """(K, d), as compared: unit vectors with ``l2_norm``."""
        return self.codes.vectors

    def load_codebook(
        self, codebook: Tensor, *, cluster_size: Tensor | None = None, embed_sum: Tensor | None = None
    ) -> None:
        """Take over code vectors (K, d), and the moving average's state (K,), (K, d) where it is at hand."""
        self.codes.load(codebook, cluster_size, embed_sum)

    @torch.no_grad()
    def soft_targets(self, z: Tensor, temperature: float = 1.0) -> Tensor:
        """softmax over k of -|z - e_k|^2 / temperature: (B, ..., 1, K)."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            soft = soft_assignment(self._into_code_space(flat), self.codebook, temperature)
            return soft.reshape(*positions, 1, -1)

    @torch.no_grad()
    def sample(self, z: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Codes (B, ..., 1) drawn from ``soft_targets``."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            codes, _ = sample_codes(self._into_code_space(flat), self.codebook, temperature, generator)
            return codes.reshape(*positions, 1)

    def _normalize(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if self.codes.l2_norm else z

    def _nearest(self, z: Tensor) -> Tensor:
        """(B, T, d) -> codes (B, T)."""
        return self.codes.nearest(z)

    def _learn(self, z: Tensor, index: Tensor) -> None:
        self.codes.learn([(z, index)])

    def _encode(self, z: Tensor) -> Tensor:
        return self._nearest(z)[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return self.codes.lookup(codes)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        self.codes.prepare(z)
        with torch.no_grad():
            index = self._nearest(z)
        chosen = self.codes.lookup(index)
        commitment, _ = mean_square(z, z.detach() - chosen.detach())
        losses = {"commitment": commitment}
        if self.codes.is_average:
            loss = self.commitment_weight * commitment
        else:
            codebook = F.mse_loss(chosen, z.detach())
            losses["codebook"] = codebook
            loss = self.codebook_weight * codebook + self.commitment_weight * commitment
        if self.entropy_weight:
            vectors = self.codebook
            losses["per_sample_entropy"], losses["codebook_entropy"] = per_sample, diversity = assignment_entropy(
                z, 2 * vectors, self.entropy_temperature, bias=-vectors.square().sum(1)
            )
            loss = loss + self.entropy_weight * (per_sample - diversity)
        self._learn(z, index)
        quantized = rotate_to(z, chosen) if self.rotation_trick else straight_through(z, chosen)
        return quantized, index[..., None], loss, {k: v.detach() for k, v in losses.items()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16},
            {"dim": 8, "codebook_size": 40, "codebook_update": "gradient", "beta_on": "codebook"},
            {"dim": 12, "codebook_size": 16, "codebook_dim": 4, "l2_norm": True, "rotation_trick": True},
            {"dim": 4, "codebook_size": 8, "kmeans_init": True},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return one_code_configurations(cls.name, codebook_size, depth, bits)


def loss_weights(
    label: str,
    commitment: float | None,
    codebook: float | None,
    beta: float | None,
    beta_on: str,
    unsaid: tuple[float, float] = (0.25, 1.0),
) -> tuple[float, float]:
    """Weights of the commitment and of the codebook loss, in whichever spelling they were given, or as ``unsaid``."""
    require_choice(label, "beta_on", beta_on, ("commitment", "codebook"))
    if beta is not None or beta_on == "codebook":
        if commitment is not None or codebook is not None:
            names = "commitment_weight and codebook_weight"
            raise ValueError(f"{label}: beta and beta_on are another spelling of {names}: give one or the other")
        beta = 0.25 if beta is None else beta
        require_between(label, 0, math.inf, beta=beta)
        return (beta, 1.0) if beta_on == "commitment" else (1.0, beta)
    commitment, codebook = unsaid[0] if commitment is None else commitment, unsaid[1] if codebook is None else codebook
    require_between(label, 0, math.inf, commitment_weight=commitment, codebook_weight=codebook)
    return commitment, codebook


def codebook_loss(
    z: Tensor, chosen: Tensor, commitment_weight: float, codebook_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a codebook that learns by gradient: |sg[chosen] - z|^2 and |chosen - sg[z]|^2, weighted; both by name."""
    commitment, codebook = F.mse_loss(z, chosen.detach()), F.mse_loss(chosen, z.detach())
    loss = codebook_weight * codebook + commitment_weight * commitment
    return loss, {"commitment": commitment.detach(), "codebook": codebook.detach()}


def one_code_configurations(
    name: str, codebook_size: int | None, depth: int | None, bits: int | None
) -> list[dict[str, Any]]:
    """Sweep configurations of a quantizer with one code a position, given by its vocabulary."""
    require_one_code(name, codebook_size, depth, bits)
    if bits is not None and bits > MOST_BITS:
        most = f"more than one int64 code holds ({MOST_BITS})"
        raise ValueError(f"{name}: {bits} bits are {most}; gfq and rq have several codes")
    size = codebook_size if bits is None else 2**bits
    return [{"codebook_size": size}]
