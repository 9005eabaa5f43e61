"""A codebook that grows along the positions: how it grows, what each position chooses, what it costs."""

from __future__ import annotations

import re

import pytest
import torch

import quantizers as Q


@pytest.mark.parametrize(
    ("count", "options", "sizes"),
    [
        (1, {}, (64,)),
        (2, {}, (2, 64)),
        (6, {}, (2, 4, 8, 16, 32, 64)),
        (6, {"min_size": 16}, (16, 16, 32, 32, 64, 64)),
        (6, {"min_size": 64}, (64,) * 6),
        (5, {"growth": 0.5}, (2, 16, 32, 32, 64)),
        (5, {"growth": 4.0}, (2, 2, 2, 8, 64)),
    ],
)
def test_how_it_grows(count: int, options: dict, sizes: tuple[int, ...]) -> None:
    q = Q.VCQ(4, 64, **options)
    assert q.position_sizes((count,)) == sizes
    assert q.bits_of((count,)) == sum(size.bit_length() - 1 for size in sizes)


@pytest.mark.parametrize("l2_norm", [False, True])
def test_each_position_has_the_nearest_of_its_own_codes(l2_norm: bool) -> None:
    q = Q.VCQ(3, 32, l2_norm=l2_norm).eval()
    q.codes.load(torch.randn(32, 3))
    z = torch.randn(5, 4, 3, 3)
    rows = torch.nn.functional.normalize(z, dim=-1) if l2_norm else z
    distances = torch.cdist(rows.double().reshape(5, 12, 3), q.codebook.double())
    for t, size in enumerate(q.position_sizes((4, 3))):
        distances[:, t, size:] = torch.inf
    codes = q.encode(z)
    assert torch.equal(codes.flatten(), distances.argmin(-1).flatten())
    soft = q.soft_targets(z, 0.5)
    assert torch.equal(soft.argmax(-1), codes) and (soft.flatten(1, -2)[:, 0, 2:] == 0).all()
    drawn = torch.cat([q.sample(z, 100.0) for _ in range(20)])
    assert (drawn.flatten(1).amax(0) < torch.tensor(q.position_sizes((4, 3)))).all() and drawn.max() > 16


def test_codes_that_a_position_does_not_have() -> None:
    q = Q.VCQ(3, 16).eval()
    codes = q.encode(torch.randn(2, 7, 3))
    assert torch.equal(q.decode(codes)[:, :4], q.decode(codes[:, :4])), "the first positions decode on their own"
    codes[1, 0] = 2
    with pytest.raises(
        ValueError, match="1 of the codes are beyond .* position 0 of 7 has 2 codes, and one there is 2"
    ):
        q.decode(codes)


def test_unused_codes_restart_where_they_can_be_chosen_and_codes_in_use_stay() -> None:
    """A last position that few share with it is seldom hit: by the mean over all codes its codes would be unused."""
    torch.manual_seed(0)
    q = Q.VCQ(4, 64, decay=0.9)
    centres = 3 * torch.randn(16, 64, 4)  # every position has its own
    for _ in range(60):
        picks = torch.stack([torch.randint(64, (16,)) for _ in range(8)])
        q.train()(centres[torch.arange(16), picks] + 0.02 * torch.randn(8, 16, 4))
    before = q.codebook.clone()
    last = centres[-1][None].expand(16, -1, -1).transpose(0, 1).contiguous()  # (64, 16, 4)
    used = q.eval().encode(last)[:, -1, 0].unique()
    assert len(used) > 24
    for _ in range(3):
        picks = torch.randint(64, (8, 16))
        q.train()(centres[torch.arange(16), picks] + 0.02 * torch.randn(8, 16, 4))
    moved = (q.codebook - before).norm(dim=1) > 1.0
    assert moved[used].float().mean() < 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Q.VCQ(4, 48), "power of two; 48 is not"),
        (lambda: Q.VCQ(4, 16, min_size=32), "min_size 32 is not a power of two up to codebook_size 16"),
        (lambda: Q.VCQ(4, 16, growth=0.0), "growth must be a number from 0.01 to 100"),
        (lambda: Q.VCQ(4, 16, codebook_weight=1.0), 'codebook_weight needs codebook_update="gradient"'),
        (lambda: Q.build("ms-rq", dim=4, quantizer="vcq", codebook_size=16), "vcq counts the positions of a whole map"),
        (lambda: Q.Grouped(Q.VCQ(4, 16), 2), "vcq counts the positions of a whole map"),
        (lambda: Q.configurations("vcq", bits=8), "depends on the grid: give codebook_size"),
        (lambda: Q.configurations("vcq", codebook_size=16, depth=2), "vcq has one code a position"),
        (lambda: Q.configurations("vcq", bits=18, grid=(8, 8)), "no codebook of 2 to 2^24 codes comes near to 18 bits"),
    ],
)
def test_mistakes_are_one_line(make: object, message: str) -> None:
    with pytest.raises(ValueError, match="^[^\n]*" + re.escape(message)):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("bits", "options"), [(8, {}), (4, {"min_size": 4}), (6, {"growth": 0.5}), (2, {"growth": 3.0})]
)
def test_bits_are_those_of_a_position_on_average(bits: int, options: dict) -> None:
    (found,) = Q.configurations("vcq", bits=bits, grid=(8, 8), options=options)
    assert Q.VCQ(4, **found, **options).bits_of((8, 8)) == pytest.approx(64 * bits, abs=32)
