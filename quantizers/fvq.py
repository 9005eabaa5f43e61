"""FVQ: a learned codebook seen through a small transformer over all of it, so that every code moves with every step."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.base import Quantizer, _linear
from quantizers.checks import require_between, require_choice, require_positive
from quantizers.functional.gradient import rotate_to, straight_through
from quantizers.functional.nearest import nearest_code
from quantizers.registry import register
from quantizers.tunable import Between, OneOf
from quantizers.vq import codebook_loss, one_code_configurations

_WIDTHS = {"xs": 32, "s": 64, "b": 128, "l": 256}  # of the official sizes; the digit is the side of a patch
Bridge = Literal["xs-2", "s-2", "s-4", "s-8", "b-2", "b-4", "b-8", "l-2", "l-4", "l-8"]


class VQBridge(nn.Module):
    """The codebook (K, d) as an image of d channels and side sqrt(K), through a ViT without positions: compress patches
    of codes, process, recover.

    Args:
        size: K, the square of a multiple of ``patch``.
        dim: d.
        patch: the side of a patch.
        width, layers, heads: of the transformer, whose MLPs are twice as wide.
    """

    def __init__(self, size: int, dim: int, patch: int, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        require_positive("VQBridge", codebook_size=size, dim=dim, patch=patch, layers=layers)
        side = math.isqrt(size)
        if side * side != size or side % patch:
            raise ValueError(
                f"FVQ: a bridge of patches of {patch} needs the square of a multiple of {patch}, not {size}"
            )
        self.patch, self.side = patch, side
        self.compress = nn.Conv2d(dim, width, patch, stride=patch)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.recover = nn.Linear(width, patch * patch * dim)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, codebook: Tensor) -> Tensor:
        """(..., K, d) -> (..., K, d)."""
        image = codebook.reshape(-1, self.side, self.side, codebook.shape[-1]).movedim(-1, 1)
        weight, bias = self.compress.weight.float(), self.compress.bias
        x = F.conv2d(image, weight, bias if bias is None else bias.float(), self.patch).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = _linear(_norm(x), self.recover).unflatten(-1, (self.patch, self.patch, -1))
        x = x.unflatten(1, (self.side // self.patch, -1)).transpose(2, 3)  # (N, rows, p, columns, p, d)
        return x.reshape(codebook.shape)


class _Block(nn.Module):
    """A pre-norm transformer block whose norms learn nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _linear(_norm(x), self.qkv).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + _linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), self.out)
        return x + _linear(F.gelu(_linear(_norm(x), self.wide), approximate="tanh"), self.narrow)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


@register("fvq")
class FVQ(Quantizer):
    """Vector quantization by gradient with the codebook VQBridge(c_1 .. c_K), all of it learned.

    Args:
        dim: channels of z.
        codebook_size: K, a square.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``.
        vq_bridge: the official sizes by name: xs, s, b or l (width 32 to 256), and the side of a patch of codes.
        bridge_layers: of its transformer.
        commitment_weight: of |sg[e] - z|^2.
        codebook_weight: of |e - sg[z]|^2.
        rotation_trick: pass gradients by rotation instead of straight through.

    The bridge begins with random weights; the official one's last layer begins at zero, with all codes alike.
    losses: ``commitment``, ``codebook``.
    """

    summary = "a codebook behind a small transformer over all codes (VQBridge): every code learns at every step"
    paper = "Chang et al. 2025, arXiv:2509.10140"
    tunable = (
        Between("commitment_weight", 0.01, 4.0),
        Between("codebook_weight", 0.01, 4.0),
        OneOf("rotation_trick", (False, True)),
    )

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        vq_bridge: Bridge = "b-4",
        bridge_layers: int = 2,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        rotation_trick: bool = False,
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
        require_choice("FVQ", "vq_bridge", vq_bridge, Bridge.__args__)  # type: ignore[attr-defined]
        require_between("FVQ", 0, math.inf, commitment_weight=commitment_weight, codebook_weight=codebook_weight)
        self.commitment_weight, self.codebook_weight = commitment_weight, codebook_weight
        self.rotation_trick = rotation_trick
        size, patch = vq_bridge.split("-")
        self.weight = nn.Parameter(torch.empty(codebook_size, self.code_dim))
        self.bridge = VQBridge(codebook_size, self.code_dim, int(patch), _WIDTHS[size], bridge_layers)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 1) for the codes before the bridge."""
        self.weight.normal_()

    @property
    def codebook(self) -> Tensor:
        """(K, d), through the bridge, in fp32."""
        vectors: Tensor = self.bridge(self.weight.float())
        return vectors

    def _encode(self, z: Tensor) -> Tensor:
        return nearest_code(z, self.codebook)[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.codebook)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        vectors = self.codebook
        with torch.no_grad():
            codes = nearest_code(z, vectors)
        chosen = F.embedding(codes, vectors)
        loss, losses = codebook_loss(z, chosen, self.commitment_weight, self.codebook_weight)
        quantized = rotate_to(z, chosen) if self.rotation_trick else straight_through(z, chosen)
        return quantized, codes[..., None], loss, losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16, "vq_bridge": "xs-2"},
            {"dim": 6, "codebook_size": 64, "codebook_dim": 4, "vq_bridge": "s-8", "rotation_trick": True},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        found = one_code_configurations(cls.name, codebook_size, depth, bits)
        size = found[0]["codebook_size"]
        side = math.isqrt(size)
        patch = next((p for p in (8, 4, 2) if side % p == 0 and side >= 32 * p), 2)  # 8 from 2^16 on, as officially
        if side * side != size or side % 2:
            raise ValueError(f"fvq needs a codebook that is a square of even side (2^10, 2^12 ...); {size} is not")
        return [{"codebook_size": size, "vq_bridge": f"b-{patch}"}]
