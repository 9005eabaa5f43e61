"""What every quantizer shares: layouts, precision, input checks, projections, usage. One quantizer, one subclass.

Shape legend: B batch, ... positions of any number of axes, T their product, D codes per position ("depth"),
K codebook size, d channels of a code vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from quantizers.checks import finite_flag, raise_unless_finite, require_positive, require_tensor
from quantizers.graphs import has_values, is_compiling
from quantizers.neighbours import neighbours
from quantizers.output import QuantizerOutput
from quantizers.tunable import Tunable
from quantizers.usage import Usage


class Quantizer(nn.Module):
    """Base class. A subclass calls ``super().__init__`` with its sizes and defines ``_encode`` and ``_embed``;
    one that trains defines ``_train_step`` as well. All three work channel-last on fp32.

    Args:
        dim: channels of z coming in and of the quantized map going out.
        code_dim: channels of a code vector; where it differs from ``dim``, learned linear maps lie on either side.
        codebook_sizes: vocabulary by depth.
        channel_first: z is (B, dim, ...) instead of (B, ..., dim). Said, never guessed.
        check_finite: raise ValueError where z holds NaN or Inf.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    tunable: ClassVar[tuple[Tunable, ...]] = ()  # constructor arguments that a sweep may tune
    closed_inside: ClassVar[tuple[str, ...]] = ()  # those of a quantizer that this one is made of, and does not use
    decodes_prefix: bool = False  # a prefix of the depths decodes to a coarser version of the same map
    corners: ClassVar[bool] = False  # codes are corners of a cube: each of their bits the sign of a channel
    # Codes on a grid of their own, as a pyramid has: the one grid of z they are of; which first n decode, N last.
    latent_grid: tuple[int, ...] | None = None
    prefixes: tuple[int, ...] = ()
    prefix_names: tuple[str, ...] = ()  # what each of the prefixes adds to the one before: a scale

    def __init__(
        self,
        dim: int,
        *,
        code_dim: int,
        codebook_sizes: Sequence[int],
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        require_positive(self.label, dim=dim, code_dim=code_dim, depth=len(codebook_sizes))
        require_positive(self.label, codebook_size=min(codebook_sizes))
        self.dim, self.code_dim = dim, code_dim
        self.codebook_sizes = tuple(int(k) for k in codebook_sizes)
        self.channel_first, self.check_finite = channel_first, check_finite
        self.project_in = nn.Linear(dim, code_dim) if code_dim != dim else None
        self.project_out = nn.Linear(code_dim, dim) if code_dim != dim else None
        self.usage = Usage(self.codebook_sizes)

    # What a subclass defines -----------------------------------------------------------------------------------

    def _encode(self, z: Tensor) -> Tensor:
        """z (B, T, d) -> codes (B, T, D), without touching any state."""
        raise NotImplementedError

    def _embed(self, codes: Tensor) -> Tensor:
        """codes (B, T, D') -> (B, T, D', d), D' <= D: each depth's vector; their sum over depths is the decode."""
        raise NotImplementedError

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (B, T, d) -> quantized (B, T, d) with its gradient, codes (B, T, D), loss, losses; may update state."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Small constructor arguments, ``dim`` among them, that the contract tests run."""
        raise NotImplementedError

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        """The constructor arguments that a sweep runs for one grid point.

        codebook_size and depth as they are, or ``bits`` a position split in every way the quantizer has.
        Raises ValueError in one line where there is no such configuration.
        """
        raise ValueError(f"{cls.name} has no sweep configurations: give its options in full")

    @classmethod
    def configurations_on(
        cls, grid: Sequence[int], options: Mapping[str, Any], *, bits: int | None = None, **request: int | None
    ) -> list[dict[str, Any]]:
        """The same for z (B, *grid, dim), with ``options`` beside them: ``bits`` are a position of z, so that the rate
        of an image is one whatever codes it becomes."""
        return cls.configurations(bits=bits, **request)

    # The interface ---------------------------------------------------------------------------------------------

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize z: (B, ..., dim), or (B, dim, ...) with ``channel_first``; fp32 inside whatever comes in."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            if self.training:
                quantized, codes, loss, losses = self._train_step(self._into_code_space(flat))
                quantized, codes = self._out_of_code_space(quantized), codes + self._finite_flag(flat)
            else:
                codes = self._encode(self._into_code_space(flat)) + self._finite_flag(flat)
                quantized = self._out_of_code_space(self._decode(codes))
                loss, losses = quantized.new_zeros(()), {}
            self.usage.update(codes)
            quantized = self._unflatten(quantized, positions).to(z.dtype)
        return QuantizerOutput(quantized, self._unflatten_codes(codes, positions), loss, losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z -> codes (B, ..., D), int64. Changes no state, usage included."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            codes = self._encode(self._into_code_space(flat)) + self._finite_flag(flat)
            return self._unflatten_codes(codes, positions)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, ..., D) -> the quantized map of the eval forward, (B, ..., dim) or channel first, fp32.

        Where ``decodes_prefix``, codes of the first d depths (B, ..., d) are decoded too; the first n of N codes
        (B, n, D) where n is one of ``prefixes``.
        """
        with self._full_precision(codes, "codes"):
            flat, positions = self._check_codes(codes)
            if self.latent_grid is not None:
                positions = (positions[0], *self.latent_grid)
            return self._unflatten(self._out_of_code_space(self._decode(flat)), positions)

    def embed(self, codes: Tensor) -> Tensor:
        """codes (B, ..., D) -> (B, ..., D, dim), always channel-last: each depth's share of the decoded vector.

        The cumulative sums over depth are the prefix decodes, the whole sum is ``decode``. Of codes on a grid of their
        own these are the code vectors.
        """
        with self._full_precision(codes, "codes"):
            flat, positions = self._check_codes(codes)
            return self._embed_outside(flat).reshape(*positions, codes.shape[-1], self.dim)

    def neighbours(self, codes: Tensor, count: int) -> Tensor:
        """codes (B, ..., D) -> (B, ..., D, count): the codes nearest to each by their vectors, itself first."""
        return neighbours(self, codes, count)

    def settle(self, grid: Sequence[int]) -> None:
        """Told, before its first use, the grid of the z that is to come. ValueError where it has no codes for it."""
        self.code_grid(grid)

    def code_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The grid of the codes of z (B, *grid, dim): the same, where ``latent_grid`` does not say otherwise.

        Raises ValueError in one line where there are no codes for such a grid.
        """
        return tuple(grid)

    def subcodes(self, codes: Tensor) -> Tensor:
        """The codes as a generator models them: (B, ..., D) -> (B, ..., S) over ``subcode_sizes``.

        The codes themselves, unless the quantizer splits one large vocabulary into several small ones.
        """
        return codes

    def join(self, subcodes: Tensor) -> Tensor:
        """The inverse of ``subcodes``."""
        return subcodes

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        """Vocabulary of each of the ``subcodes``."""
        return self.codebook_sizes

    def position_sizes(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The vocabulary at each position of codes (B, *grid, 1), in raster order; empty: ``codebook_sizes`` at all."""
        return ()

    def bits_of(self, grid: Sequence[int]) -> float:
        """The rate, exactly: bits of the codes (B, *grid, D) of one z."""
        return math.prod(grid) * self.bits_per_vector

    @property
    def num_codebooks(self) -> int:
        """D, the codes a position has."""
        return len(self.codebook_sizes)

    @property
    def bits_per_vector(self) -> float:
        """The sum of log2 of the vocabularies: bits per position, of the largest where they differ."""
        return math.fsum(math.log2(k) for k in self.codebook_sizes)

    @property
    def label(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        sizes = self.codebook_sizes
        shown = f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else str(list(sizes))
        return f"dim={self.dim}, codes={shown}, {self.bits_per_vector:g} bits, channel_first={self.channel_first}"

    # Layout, precision and checks ------------------------------------------------------------------------------

    def _normalize(self, z: Tensor) -> Tensor:
        """Hook: brings z (B, T, d) to where the code vectors lie, by a norm or a bound. Nothing, by default."""
        return z

    def residual_scale(self) -> float | Tensor:
        """Size of what this quantizer leaves over, relative to what it was given: scales the next stage of Residual."""
        return 1.0

    def _decode(self, codes: Tensor) -> Tensor:
        vectors = self._embed(codes)
        return vectors[..., 0, :] if vectors.shape[-2] == 1 else vectors.sum(dim=-2)

    def _into_code_space(self, flat: Tensor) -> Tensor:
        return self._normalize(flat if self.project_in is None else _linear(flat, self.project_in))

    def _out_of_code_space(self, quantized: Tensor) -> Tensor:
        return quantized if self.project_out is None else _linear(quantized, self.project_out)

    def _embed_outside(self, codes: Tensor) -> Tensor:
        """``_embed``, out of code space: codes (B, T, D) -> (B, T, D, dim)."""
        vectors = self._embed(codes)
        if self.project_out is None:
            return vectors
        # The bias enters once, with the first depth, so that the sums come out right.
        first = _linear(vectors[..., :1, :], self.project_out)
        rest = _linear(vectors[..., 1:, :], self.project_out, with_bias=False)
        return torch.cat([first, rest], dim=-2)

    def _full_precision(self, value: Tensor, name: str) -> AbstractContextManager[Any]:
        """Autocast switched off on the device of ``value``; ValueError where it is not a tensor."""
        require_tensor(self.label, name, value)
        device = value.device.type
        return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)

    def _flatten(self, z: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """z -> fp32 (B, T, dim) and the positions' shape (B, ...)."""
        axis = 1 if self.channel_first else -1
        if z.ndim < 2 or z.shape[axis] != self.dim:
            layout = "(B, dim, ...)" if self.channel_first else "(B, ..., dim)"
            other = "" if self.channel_first else "; a map (B, dim, H, W) needs channel_first=True"
            raise ValueError(f"{self.label} takes z of shape {layout} with dim={self.dim}, not {tuple(z.shape)}{other}")
        if z.numel() == 0:
            raise ValueError(f"{self.label} got an empty z of shape {tuple(z.shape)}")
        if not z.is_floating_point():
            raise ValueError(f"{self.label} takes a floating-point z, not {z.dtype}")
        z = z.movedim(1, -1) if self.channel_first else z
        positions = tuple(z.shape[:-1])
        flat = z.float().reshape(z.shape[0], math.prod(positions[1:]), self.dim)
        if self.check_finite and has_values(flat):
            raise_unless_finite(flat, self.label)
        return flat, positions

    def _finite_flag(self, flat: Tensor) -> Tensor | int:
        """0; under torch.compile an operator that raises in its place, since a branch on data would break the graph."""
        if self.check_finite and is_compiling():
            return finite_flag(flat.detach(), self.label)
        return 0

    def _unflatten(self, flat: Tensor, positions: tuple[int, ...]) -> Tensor:
        z = flat.reshape(*positions, self.dim)
        return z.movedim(-1, 1) if self.channel_first else z

    def _unflatten_codes(self, codes: Tensor, positions: tuple[int, ...]) -> Tensor:
        return codes.reshape(positions[0], *self.code_grid(positions[1:]), -1)

    def _check_codes(self, codes: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        depth, shape = self.num_codebooks, tuple(codes.shape)
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise ValueError(f"{self.label} takes integer codes, not {codes.dtype}")
        given = shape[-1] if codes.ndim else 0
        if codes.ndim < 2 or not (given == depth or (self.decodes_prefix and 1 <= given < depth)):
            wanted = f"1 to {depth}" if self.decodes_prefix and depth > 1 else f"{depth}"
            raise ValueError(f"{self.label} takes codes of shape (B, ..., D) with D = {wanted}, not {shape}")
        flat = codes.long().reshape(shape[0], math.prod(shape[1:-1]), given)
        if has_values(flat):
            sizes = torch.tensor(self.codebook_sizes[:given], device=codes.device)
            outside = int(((flat < 0) | (flat >= sizes)).sum())
            if outside:
                raise ValueError(
                    f"{self.label}: {outside} of the codes of shape {shape} are outside their vocabularies "
                    f"{list(self.codebook_sizes[:given])} (lowest {int(flat.min())}, highest {int(flat.max())})"
                )
        return flat, shape[:-1]


def _linear(x: Tensor, layer: nn.Linear, with_bias: bool = True) -> Tensor:
    """In fp32, also where the whole model was cast to a smaller type."""
    return nn.functional.linear(x, layer.weight.float(), layer.bias.float() if with_bias else None)
