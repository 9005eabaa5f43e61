"""VCQ: one codebook, of which the first positions choose among the first few vectors and the last among all."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.checks import power_of_two_bits, require_between, require_one_code, require_positive
from quantizers.graphs import has_values
from quantizers.registry import register
from quantizers.soft import sample_codes, soft_assignment
from quantizers.tunable import Between, OneOf
from quantizers.vq import VQ

_MOST = 24  # bits of the largest codebook that a sweep asks for


@register("vcq")
class VCQ(VQ):
    """Variable codebook size quantization: position t of T, in raster order, has the nearest of the first K_t vectors.

    Args:
        dim: channels of z.
        codebook_size: K, which the last position chooses among; a position that is alone as well.
        min_size: which the first does.
        growth: the bits log2 K_t rise from the first to the last as (t / (T - 1)) ** growth, rounded to whole ones:
            1 evenly, below 1 soon, above 1 late. The paper has K_t rise from 2 and never fall; whole bits, and so few
            searches, are this library's choice.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``.
        l2_norm: compare on the unit sphere; ``quantized`` then has length 1 in code space.
        codebook_update: "ema" (moving average of the assigned vectors) or "gradient" (the codebook loss).
        decay, eps: of the moving average.
        commitment_weight: of |sg[e] - z|^2; 0.25 where nothing is said.
        codebook_weight: of |e - sg[z]|^2, 1 where nothing is said. With "ema" there is no such loss.
        restart_threshold: hits a batch, on average, below which a code restarts on a vector of the batch, as of ``VQ``,
            of the positions that choose among half of the codes or more; 0 is never. None: 1 with "ema", 0 with
            "gradient". The bar is lower for codes that few positions may choose.
        rotation_trick: pass gradients by rotation instead of straight through.

    The rate of a map is the sum of log2 K_t over its positions. losses: ``commitment``, and with "gradient"
    ``codebook``.
    """

    summary = "a codebook that grows along the positions, from 2 codes to all: coarse to fine in one row"
    paper = "Zheng et al. 2026, arXiv:2605.06207"
    tunable = (
        Between("commitment_weight", 0.01, 4.0, unset=0.25),
        Between("decay", 0.8, 0.999, "linear"),
        Between("restart_threshold", 0.01, 4.0, unset=1.0),
        OneOf("rotation_trick", (False, True)),
    )

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        min_size: int = 2,
        growth: float = 1.0,
        codebook_dim: int | None = None,
        l2_norm: bool = False,
        codebook_update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        eps: float = 1e-5,
        commitment_weight: float | None = None,
        codebook_weight: float | None = None,
        restart_threshold: float | None = None,
        rotation_trick: bool = False,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim,
            codebook_size,
            codebook_dim=codebook_dim,
            l2_norm=l2_norm,
            codebook_update=codebook_update,
            decay=decay,
            eps=eps,
            commitment_weight=commitment_weight,
            codebook_weight=codebook_weight,
            restart_threshold=restart_threshold,
            rotation_trick=rotation_trick,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        _check_growth(codebook_size, min_size, growth)
        self.min_size, self.growth = min_size, growth

    def position_sizes(self, grid: Sequence[int]) -> tuple[int, ...]:
        return grown_sizes(math.prod(grid), self.codebook_sizes[0], self.min_size, self.growth)

    def bits_of(self, grid: Sequence[int]) -> float:
        return math.fsum(map(math.log2, self.position_sizes(grid)))

    @torch.no_grad()
    def soft_targets(self, z: Tensor, temperature: float = 1.0) -> Tensor:
        """softmax over the first K_t codes of -|z - e_k|^2 / temperature: (B, ..., 1, K), 0 for the others."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            book = self.codebook
            soft = [
                F.pad(soft_assignment(part, book[:size], temperature), (0, len(book) - size))
                for part, size in self._parts(self._into_code_space(flat))
            ]
            return torch.cat(soft, dim=1).reshape(*positions, 1, -1)

    @torch.no_grad()
    def sample(self, z: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Codes (B, ..., 1) drawn from ``soft_targets``."""
        with self._full_precision(z, "z"):
            flat, positions = self._flatten(z)
            parts = self._parts(self._into_code_space(flat))
            drawn = [sample_codes(part, self.codebook[:size], temperature, generator)[0] for part, size in parts]
            return torch.cat(drawn, dim=1).reshape(*positions, 1)

    def _parts(self, z: Tensor) -> Iterator[tuple[Tensor, int]]:
        """z (B, T, d) in pieces (B, n, d) whose positions have as many codes, and how many."""
        for (start, stop), size in runs(self.position_sizes(z.shape[1:2])):
            yield z[:, start:stop], size

    def _check_codes(self, codes: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        flat, positions = super()._check_codes(codes)
        # The first n positions of a longer row have at most as many codes as those of a row of n.
        sizes = self.position_sizes(positions[1:])
        if has_values(flat) and len(sizes) == flat.shape[1]:
            outside = flat[..., 0] >= torch.tensor(sizes, device=flat.device)
            if bool(outside.any()):
                t = int(outside.any(0).nonzero()[0])
                raise ValueError(
                    f"VCQ: {int(outside.sum())} of the codes are beyond what their positions have; position {t} of "
                    f"{len(sizes)} has {sizes[t]} codes, and one there is {int(flat[:, t].max())}"
                )
        return flat, positions

    def _nearest(self, z: Tensor) -> Tensor:
        """(B, T, d) -> codes (B, T)."""
        if torch.jit.is_tracing():
            return self._traced(z)
        return torch.cat([self.codes.nearest(part, first=size) for part, size in self._parts(z)], dim=1)

    def _traced(self, z: Tensor) -> Tensor:
        """The same, for a program that may be given other grids than it is traced with: it computes all there is."""
        low, high = (size.bit_length() - 1 for size in (self.min_size, self.codes.size))
        count, book = z.shape[1], self.codebook.double()
        share = (torch.arange(count, device=z.device).double() / (count - 1)).nan_to_num(nan=1.0) ** self.growth
        sizes = 2 ** (low + (high - low) * share + 0.5).floor()
        scores = z.double() @ book.T - 0.5 * book.square().sum(1)
        beyond = torch.arange(self.codes.size, device=z.device) >= sizes[:, None]
        return scores.masked_fill(beyond, -torch.inf).argmax(-1)

    def _learn(self, z: Tensor, index: Tensor) -> None:
        sizes = self.position_sizes(z.shape[1:2])
        most = next(t for t, size in enumerate(sizes) if 2 * size >= self.codes.size)
        self.codes.learn([(z, index)], fresh=z[:, most:], reach=reach(sizes, z.device))

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16},
            {"dim": 8, "codebook_size": 32, "codebook_update": "gradient", "min_size": 4, "growth": 0.5},
            {"dim": 12, "codebook_size": 16, "codebook_dim": 4, "l2_norm": True, "rotation_trick": True},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        require_one_code(cls.name, codebook_size, depth, bits)
        if codebook_size is None:
            raise ValueError("vcq: how large a codebook comes to so many bits depends on the grid: give codebook_size")
        power_of_two_bits("vcq", codebook_size)
        return [{"codebook_size": codebook_size}]

    @classmethod
    def configurations_on(
        cls, grid: Sequence[int], options: Mapping[str, Any], *, bits: int | None = None, **request: int | None
    ) -> list[dict[str, Any]]:
        """``bits`` are those of a position on average: the codebook whose sum over all positions comes nearest."""
        if bits is None:
            return cls.configurations(**request)
        require_one_code(cls.name, request.get("codebook_size"), request.get("depth"), bits)
        least, growth = options.get("min_size", 2), options.get("growth", 1.0)
        _check_growth(2**_MOST, least, growth)
        count = math.prod(grid)
        off = {
            2**n: abs(sum(size.bit_length() - 1 for size in grown_sizes(count, 2**n, least, growth)) / count - bits)
            for n in range(least.bit_length() - 1, _MOST + 1)
        }
        best = min(off, key=lambda size: off[size], default=0)
        if off.get(best, 1.0) > 0.5:
            raise ValueError(
                f"vcq: no codebook of {least} to 2^{_MOST} codes comes near to {bits} bits a position on average; "
                "min_size and growth move it"
            )
        return [{"codebook_size": best}]


@functools.cache
def grown_sizes(count: int, most: int, least: int, growth: float) -> tuple[int, ...]:
    """K_t of ``count`` positions, powers of two from ``least`` to ``most``; of a single one ``most``."""
    low, high = least.bit_length() - 1, most.bit_length() - 1
    shares = [(t / (count - 1)) ** growth for t in range(count)] if count > 1 else [1.0]
    return tuple(2 ** math.floor(low + (high - low) * share + 0.5) for share in shares)


def runs(sizes: Sequence[int]) -> list[tuple[tuple[int, int], int]]:
    """Neighbouring positions of the same size: ((start, stop), size)."""
    lengths = [(size, len(list(same))) for size, same in itertools.groupby(sizes)]
    stops = list(itertools.accumulate(length for _, length in lengths))
    return [((stop - n, stop), size) for stop, (size, n) in zip(stops, lengths, strict=True)]


def reach(sizes: Sequence[int], device: torch.device) -> Tensor:
    """How often each code (K,) is chosen, where every position chooses alike among its own, in units of their mean."""
    most = max(sizes)
    found = torch.zeros(most, device=device)
    for (start, stop), size in runs(sizes):
        found[:size] += most * (stop - start) / (size * len(sizes))
    return found


def _check_growth(most: int, least: int, growth: float) -> None:
    """ValueError in one line where no codebook grows like that."""
    require_positive("VCQ", min_size=least)
    require_between("VCQ", 0.01, 100, growth=growth)
    power_of_two_bits("VCQ", most)
    if least & (least - 1) or least > most:
        raise ValueError(f"VCQ: min_size {least} is not a power of two up to codebook_size {most}")
