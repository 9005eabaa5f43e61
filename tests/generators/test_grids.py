"""A generator of codes on a grid of one, two or three axes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tokbench.codes.cache import CodeCache
from tokbench.codes.header import CodeHeader
from tokbench.codes.writer import CodeWriter
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.generators.pipeline import keep_mask
from tokbench.generators.transformer import axial_rotation

Make = Callable[..., Generator]
HEADER = CodeHeader(
    tokenizer="made", tokenizer_sha256="ab" * 32, codebook_sizes=(9, 5), shape=(4, 4, 2), image_size=8, source="made",
    split="train", preprocessing="", fingerprint="", latent_channels=4,
)  # fmt: skip
GRIDS = pytest.mark.parametrize("grid", [(6,), (2, 3), (2, 3, 2)])


@GRIDS
@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_codes_on_any_grid_train_are_drawn_and_completed(
    make_generator: Make, tmp_path: Path, name: str, positions: str, grid: tuple[int, ...]
) -> None:
    model = make_generator(name, shape=(*grid, 2), positions=positions, heads=1)
    codes = torch.randint(7, (3, *grid, 2), generator=torch.Generator().manual_seed(0))
    model.train().loss(codes).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.save_pretrained(tmp_path / "g")
    again = Generator.from_pretrained(tmp_path / "g")
    assert again.nll(codes).isfinite().all() and again.codes_per_image == codes[0].numel()
    assert ("codes", f"{'x'.join(map(str, (*grid, 2)))}, vocabularies 7, 7") in again.card().facts

    first = torch.zeros(grid, dtype=torch.bool)
    first.view(-1)[:2] = True  # what a raster order can start from
    made = again.generate(3, seed=1, given=codes[:1], mask=first)
    assert made.shape == (3, *grid, 2) and (made[:, first] == codes[:1][:, first]).all()
    assert torch.equal(again.generate(1, seed=1, first=2, given=codes[:1], mask=first), made[2:])
    with pytest.raises(TokbenchError, match=r"the mask must be boolean \(" + ", ".join(map(str, grid))):
        again.generate(1, given=codes[:1], mask=first[None, None])


@GRIDS
def test_probabilities_on_any_grid_sum_to_one(make_generator: Make, grid: tuple[int, ...]) -> None:
    model = make_generator("ar", shape=(*grid, 1), vocabulary=(2,), positions="rotary", heads=1)
    stacks = torch.tensor(list(itertools.product(range(2), repeat=model.places))).view(-1, *grid, 1)
    assert float((-model.nll(stacks)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_map_turns_as_it_always_did_and_every_axis_turns_its_own_channels() -> None:
    """Half of the channels by the row and half by the column: what published weights were trained with."""
    frequencies = 10000.0 ** (-torch.arange(3, dtype=torch.float64) / 3)
    row, column = torch.arange(2).repeat_interleave(4), torch.arange(4).repeat(2)
    angles = torch.cat([row[:, None] * frequencies, column[:, None] * frequencies], dim=1)
    angles = torch.cat([torch.zeros(1, 6, dtype=torch.float64), angles])
    assert torch.equal(axial_rotation((2, 4), 12), torch.stack([angles.cos(), angles.sin()], -1).float())

    turned = axial_rotation((2, 2, 2), 16)  # 8 pairs for three axes: 3, 3 and 2
    assert turned.shape == (9, 8, 2)
    still = torch.tensor([1.0, 0.0])
    for place, channels in ((1 + 4, slice(0, 3)), (1 + 2, slice(3, 6)), (1 + 1, slice(6, 8))):
        moved = (turned[place] != still).any(-1)
        assert moved[channels].all() and moved.sum() == len(range(*channels.indices(8)))


def test_too_few_channels_for_the_axes_are_one_line(make_generator: Make) -> None:
    with pytest.raises(ValueError, match="a grid of 3 axes need at least 6 channels a head, not 4"):
        make_generator("ar", shape=(2, 2, 2, 1), positions="rotary", heads=6)


@GRIDS
def test_a_cache_holds_codes_on_any_grid(tmp_path: Path, grid: tuple[int, ...]) -> None:
    header = HEADER.model_copy(update={"shape": (*grid, 2)})
    codes, latents = torch.randint(5, (5, *grid, 2)), torch.randn(5, *grid, 4).half()
    with CodeWriter(tmp_path / "train", header, shard=2) as writer:
        writer.add(codes, torch.arange(5), latents)
    batch = CodeCache(tmp_path, "train").read([4, 0])
    assert torch.equal(batch["codes"], codes[[4, 0]]) and torch.equal(batch["latents"], latents[[4, 0]])


@pytest.mark.parametrize("shape", [[2], [1] * 9 + [2], [3, 0, 2], [4, 4, 3]])
def test_a_cache_of_no_grid_is_one_line(tmp_path: Path, shape: list[int]) -> None:
    (tmp_path / "train").mkdir()
    header = HEADER.model_dump(mode="json") | {"shape": shape}
    (tmp_path / "train" / "header.json").write_text(json.dumps(header))
    with pytest.raises(TokbenchError, match=r"header.json: (shape|2 vocabularies).*; encode again"):
        CodeCache(tmp_path, "train")


def test_what_is_kept_of_a_map_makes_no_sense_elsewhere() -> None:
    with pytest.raises(TokbenchError, match="--keep top: needs codes in rows and columns, and these are 8"):
        keep_mask("top", (8,))
