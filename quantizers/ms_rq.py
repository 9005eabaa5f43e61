"""MS-RQ: residual quantization over a pyramid of scales, coarse to fine. VAR's tokenizer, and Infinity's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.checks import require_between, require_choice, require_size_or_bits
from quantizers.functional import pyramid
from quantizers.functional.gradient import straight_through
from quantizers.functional.nearest import most_aligned_code
from quantizers.functional.pyramid import as_map, as_rows, shrunk
from quantizers.graphs import has_values
from quantizers.grouped import make_parts
from quantizers.phi import Phi, phi_of
from quantizers.registry import get, register
from quantizers.residual import code_channels, with_means
from quantizers.scaled import Scaled
from quantizers.tunable import Between
from quantizers.vq import VQ


@register("ms-rq")
class MSRQ(Scaled):
    """What is left of a map (H, W) is averaged down to a scale, quantized, brought back to (H, W) and subtracted; then
    the next, finer scale, the last of which is (H, W) itself.

    Codes are a row (B, N, D) in order of scale, each in raster order, N the sum of h w; those of the first scales
    (``prefixes``) decode to a coarser map. z must be a map (B, H, W, dim) of the one size that the scales end at.

    Args:
        dim: channels of z. None: the inner quantizer's own.
        scales: sides, or pairs [h, w], rising, the last that of the latent map. None: VAR's ten in proportion to the
            first map seen (``quantizers.functional.pyramid.default_scales``).
        quantizer: of every scale, one for all of them, by name, its options following as keywords: ``vq`` with
            ``codebook_size`` is VAR's, ``bsq`` with ``bits`` Infinity's; ``lfq``, ``fsq`` and others work alike.
        quant_resi: r of phi(h) = (1 - r) h + r conv(h), which follows the way back up. 0: no convolutions.
        share_quant_resi: how many phi there are, each for the scales next to it; 0: one for every scale.
        upsampling: the way back up; Infinity's is bilinear.
        normalized_search: of ``vq``: compare directions and not distances (VAR's ``using_znorm``).
        shrink: a scale's codes count 1 - shrink * its number from 0 (Infinity's ``use_decay_factor`` is 0.1).
        scale_dropout: chance that a sample is decoded from a random prefix of its scales in training.

    With ``vq`` the loss is VAR's: the mean over scales of the commitment and the codebook's loss on the sum so far,
    by which the phi learn, and the code vectors too unless a moving average teaches them (``codebook_update``, by
    default). The gradient goes straight through the whole. With other quantizers the loss is the mean over scales of
    theirs on what is left, and the gradient passes every scale's own norm, as Infinity's does.
    losses: ``commitment`` and ``codebook``, or the inner quantizer's; ``.._per_scale`` beside each (scales,).
    """

    summary = "a pyramid of scales, each on what the coarser ones left over: next-scale codes"
    paper = "Tian et al. 2024, arXiv:2404.02905; Han et al. 2024, arXiv:2412.04431"
    tunable = (Between("quant_resi", 0.0, 1.0, "linear"), Between("scale_dropout", 0.0, 0.5, "linear"))
    closed_inside = ("rotation_trick",)  # the gradient passes in its own way over the scales

    def __init__(
        self,
        dim: int | None = None,
        scales: Sequence[int | Sequence[int]] | None = None,
        *,
        quantizer: str = "vq",
        quant_resi: float = 0.5,
        share_quant_resi: int = 4,
        upsampling: Literal["bicubic", "bilinear"] = "bicubic",
        normalized_search: bool = False,
        shrink: float = 0.0,
        scale_dropout: float = 0.0,
        channel_first: bool = False,
        check_finite: bool = True,
        **options: Any,
    ) -> None:
        inner = make_parts("MSRQ", quantizer, 1, code_channels("MSRQ", quantizer, dim, options), options)[0]
        if inner.code_dim != inner.dim:
            raise ValueError("MSRQ: the quantizer inside has no linear maps of its own: say dim and codebook_dim alike")
        super().__init__(
            inner.dim if dim is None else dim,
            code_dim=inner.dim,
            codebook_sizes=inner.codebook_sizes,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        require_between("MSRQ", 0, 1, quant_resi=quant_resi, shrink=shrink, scale_dropout=scale_dropout)
        require_between("MSRQ", 0, 1000, share_quant_resi=share_quant_resi)
        require_choice("MSRQ", "upsampling", upsampling, ("bicubic", "bilinear"))
        if normalized_search and not isinstance(inner, VQ):
            raise ValueError(f"MSRQ: normalized_search is for vq, not {quantizer}; leave it out")
        self._by_codebook = isinstance(inner, VQ) and not inner.codes.l2_norm
        unread = (*self.closed_inside, *(("entropy_weight",) if self._by_codebook else ()))  # whose loss is VAR's
        for key in filter(options.get, unread):
            raise ValueError(f"MSRQ: {key} of {quantizer} is not used over scales; leave it out")
        if quant_resi and not share_quant_resi and scales is None:
            raise ValueError("MSRQ: share_quant_resi 0 is a phi for every scale: say scales")
        self.upsampling: pyramid.Mode = upsampling
        self.inner, self.normalized_search = inner, normalized_search
        self.shrink, self.scale_dropout = shrink, scale_dropout
        self.begin(scales)
        count = (share_quant_resi or len(self.scales)) if quant_resi else 0
        self.phi = nn.ModuleList(Phi(self.code_dim, quant_resi) for _ in range(count))

    @torch.no_grad()
    def load_codebook(
        self, codebook: Tensor, *, phi_weight: Tensor | None = None, phi_bias: Tensor | None = None
    ) -> None:
        """Take over code vectors (K, d), and the weights (P, d, d, 3, 3) and biases (P, d) of all phi."""
        assert isinstance(self.inner, VQ)
        self.inner.load_codebook(codebook)
        for key, stack in (("weight", phi_weight), ("bias", phi_bias)):
            if stack is not None:
                if len(stack) != len(self.phi):
                    raise ValueError(f"MSRQ has {len(self.phi)} phi, not {len(stack)}")
                for phi, value in zip(self.phi, stack, strict=True):
                    getattr(phi, key).copy_(value)

    # Maps and codes --------------------------------------------------------------------------------------------------

    def share(self, vectors: Tensor, scale: int) -> Tensor:
        """Code vectors (B, h w, d) of a scale -> what they add to the map, (B, d, H, W)."""
        mode, small, large = self.upsampling, self.scales[scale], self.scales[-1]
        if self.training and small != large and has_values(vectors):
            h = as_map(pyramid.enlarging(small, large, mode, vectors.device) @ vectors, large)
        else:
            h = pyramid.enlarged(as_map(vectors, small), large, mode)
        h = self.phi[phi_of(scale, len(self.scales), len(self.phi))](h) if len(self.phi) else h
        return h * (1 - self.shrink * scale) if self.shrink else h

    def blank(self, batch: int, like: Tensor) -> Tensor:
        """The map before the first scale: zeros (B, d, H, W)."""
        return like.new_zeros(batch, self.code_dim, *self.scales[-1], dtype=torch.float32)

    def add(self, total: Tensor, scale: int, codes: Tensor) -> Tensor:
        """The map (B, d, H, W) with the codes (B, h w, D) of one more scale."""
        return total + self.share(self.inner._decode(codes), scale)

    def seen_at(self, total: Tensor, scale: int) -> Tensor:
        """The map so far as a generator reads it before it draws a scale: (B, h w, d)."""
        return as_rows(shrunk(total, self.scales[scale]))

    def next_inputs(self, codes: Tensor) -> Tensor:
        """Codes (B, N, D) -> the map of the scales before, at each position of all scales but the first
        (B, N - h_0 w_0, d): what a next-scale generator is given in training."""
        scales = self.split(codes)
        total, found = self.blank(codes.shape[0], codes), []
        for scale, own in enumerate(scales[:-1]):
            total = self.add(total, scale, own)
            found.append(self.seen_at(total, scale + 1))
        return torch.cat([total.new_zeros(codes.shape[0], 0, self.code_dim), *found], dim=1)

    def subcodes(self, codes: Tensor) -> Tensor:
        return self.inner.subcodes(codes)

    def join(self, subcodes: Tensor) -> Tensor:
        return self.inner.join(subcodes)

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return self.inner.subcode_sizes

    # What a quantizer defines ----------------------------------------------------------------------------------

    def _search(self, x: Tensor) -> Tensor:
        """(B, h w, d) -> codes (B, h w, D)."""
        if self.normalized_search:
            assert isinstance(self.inner, VQ)
            return most_aligned_code(F.normalize(x, dim=-1), F.normalize(self.inner.codebook, dim=-1))[..., None]
        return self.inner._encode(self.inner._normalize(x))

    def _encode(self, z: Tensor) -> Tensor:
        return self._through(z, lambda codes, scale: codes)[0]

    @torch.no_grad()
    def corrected(self, z: Tensor, read: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
        """Codes where those of a scale (B, h w, D) are read as ``read(codes, scale)``, mistakes among them, and the
        finer scales are quantized of what those leave over: what is right (B, N, D), and what was read (B, N, D).

        z as ``encode`` takes it. With bits that are flipped by chance this is Infinity's bitwise self-correction.
        """
        with self._full_precision(z, "z"):
            return self._through(self._into_code_space(self._flatten(z)[0]), read)

    def _through(self, z: Tensor, read: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
        rest, right, known = as_map(z, self.scales[-1]), [], []
        for scale, size in enumerate(self.scales):
            right.append(self._search(as_rows(shrunk(rest, size))))
            known.append(read(right[-1], scale))
            rest = rest - self.share(self.inner._decode(known[-1]), scale)
        return torch.cat(right, dim=1), torch.cat(known, dim=1)

    def _decode(self, codes: Tensor) -> Tensor:
        total = self.blank(codes.shape[0], codes)
        for scale, own in enumerate(self.split(codes)):
            total = self.add(total, scale, own)
        return as_rows(total)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.inner._embed(codes)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        totals, codes, loss, losses = (self._codebook_pass if self._by_codebook else self._inner_pass)(z)
        total = self._dropped(totals)
        quantized = straight_through(z, total) if self._by_codebook else total
        return quantized, torch.cat(codes, dim=1), loss + self._idle(), losses

    def _idle(self) -> Tensor | float:
        """0, through the phi that no scale is near to: training on several processes wants a gradient for each."""
        count, scales = len(self.phi), len(self.scales)
        used = {phi_of(scale, scales, count) for scale in range(scales if count else 0)}
        return sum(0.0 * p.float().sum() for i, phi in enumerate(self.phi) if i not in used for p in phi.parameters())

    def _codebook_pass(self, z: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, dict[str, Tensor]]:
        """The sums (B, T, d) and codes after each scale, VAR's loss and its parts."""
        assert isinstance(self.inner, VQ)
        book, target = self.inner.codes, as_map(z.detach(), self.scales[-1])
        total, totals, codes, seen = torch.zeros_like(target), [], [], []
        for scale, size in enumerate(self.scales):
            with torch.no_grad():
                seen.append(as_rows(shrunk(target - total, size)))
                book.prepare(seen[-1])
                codes.append(self._search(seen[-1]))
            total = total + self.share(book.lookup(codes[-1][..., 0]), scale)
            totals.append(as_rows(total))
        commitment = torch.stack([F.mse_loss(z, each.detach()) for each in totals])
        codebook = torch.stack([F.mse_loss(each, z.detach()) for each in totals])
        book.learn([(x, own[..., 0]) for x, own in zip(seen, codes, strict=True)], evenly=True)
        loss = self.inner.commitment_weight * commitment.mean() + self.inner.codebook_weight * codebook.mean()
        return totals, codes, loss, with_means({"commitment": commitment, "codebook": codebook}, "per_scale")

    def _inner_pass(self, z: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, dict[str, Tensor]]:
        """The same with another quantizer's loss at every scale; the gradient passes each scale on its own."""
        rest = as_map(z, self.scales[-1])
        total, totals, codes, steps = torch.zeros_like(rest), [], [], []
        for scale, size in enumerate(self.scales):
            x = self.inner._normalize(as_rows(shrunk(rest, size)))
            _, own, loss, losses = self.inner._train_step(x)
            h = self.share(straight_through(x, self.inner._decode(own)), scale)
            total, rest = total + h, rest - h.detach()
            totals.append(as_rows(total))
            codes.append(own)
            steps.append((loss, losses))
        loss = torch.stack([loss for loss, _ in steps]).mean()
        losses = {k: torch.stack([each[k] for _, each in steps]) for k in steps[0][1]}
        return totals, codes, loss, with_means(losses, "per_scale")

    def _dropped(self, totals: list[Tensor]) -> Tensor:
        """The last sum; with scale dropout, of some samples (first axis) that after a random scale."""
        if not self.scale_dropout:
            return totals[-1]
        batch = len(totals[0])
        kept = torch.randint(0, len(totals), (batch,))
        kept[torch.rand(batch) >= self.scale_dropout] = len(totals) - 1
        return torch.stack([totals[scale][b] for b, scale in enumerate(kept.tolist())])

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16, "scales": [1, 2, [3, 4]]},
            {"dim": 6, "codebook_size": 12, "scales": [1, 2], "share_quant_resi": 0, "codebook_update": "gradient"},
            {"dim": 8, "quantizer": "bsq", "bits": 8, "scales": [1, 3], "quant_resi": 0.0, "upsampling": "bilinear"},
            {"dim": 6, "quantizer": "fsq", "levels": [5, 4, 3], "scales": [[1, 2], [2, 4]], "scale_dropout": 0.5},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return cls._of_inner({}, codebook_size, depth, bits)

    @classmethod
    def configurations_on(
        cls, grid: Sequence[int], options: Mapping[str, Any], *, bits: int | None = None, **request: int | None
    ) -> list[dict[str, Any]]:
        """``bits`` of a position of z are shared out over all scales: the vocabulary nearest to that, or whole bits."""
        if bits is None or request.get("codebook_size") is not None or len(grid) != 2:  # settle refuses other axes
            return cls._of_inner(options, bits=bits, **request)
        scales = pyramid.checked_scales("ms-rq", options.get("scales") or pyramid.default_scales(grid))
        share, depth = pyramid.shared_bits("ms-rq", scales, bits), request.get("depth")
        with suppress(ValueError):  # where only powers of two will do
            found = cls._of_inner(options, round(2**share), depth)
            if not any({"groups", "depth"} & made.keys() for made in found):  # each of several codes has a share of it
                return found
        return cls._of_inner(options, depth=depth, bits=round(share))

    @classmethod
    def _of_inner(
        cls,
        options: Mapping[str, Any],
        codebook_size: int | None = None,
        depth: int | None = None,
        bits: int | None = None,
    ) -> list[dict[str, Any]]:
        """Those of the quantizer inside, which ``options`` may name."""
        if depth not in (None, 1):
            raise ValueError(f"ms-rq has scales in place of depth: depth {depth} is not possible (rq has depth)")
        require_size_or_bits(cls.name, codebook_size, bits)
        return get(options.get("quantizer", "vq")).configurations(codebook_size=codebook_size, bits=bits)
