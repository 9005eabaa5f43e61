"""Grids: which cells, none twice, and what is said of the impossible."""

from __future__ import annotations

import pytest
from recipes_tiny import TINY

import quantizers
from tokbench.errors import TokbenchError
from tokbench.sweeps.grid import Grid


def settings(grid: Grid) -> list[dict]:
    return [cell.recipe.quantizer.model_dump() for cell in grid.cells()[0]]


def test_as_typed_in_the_readme() -> None:
    assert settings(Grid(quantizers=["rq"], depths=[4])) == [{"name": "rq", "codebook_size": 256, "depth": 4}]


def test_depth_is_an_axis_only_where_there_is_depth() -> None:
    grid = Grid(quantizers=["vq", "rq", "lfq"], codebook_sizes=[256, 1024], depths=[1, 2, 4, 8], overrides=TINY)
    found = settings(grid)
    assert sum(q["name"] == "vq" for q in found) == 2
    assert sum(q["name"] == "lfq" for q in found) == 2
    assert {(q["codebook_size"], q["depth"]) for q in found if q["name"] == "rq"} == {
        (k, d) for k in (256, 1024) for d in (1, 2, 4, 8)
    }
    keys = [cell.key for cell in grid.cells()[0]]
    assert len(keys) == len(set(keys)) == 12


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_bits_puts_every_quantizer_at_one_rate(bits: int) -> None:
    names = ["vq", "rq", "lfq"]
    cells, impossible = Grid(quantizers=names, bits=[bits], overrides=TINY).cells()
    assert not impossible
    assert {cell.recipe.quantizer.name for cell in cells} == set(names)
    for cell in cells:
        built = quantizers.build(cell.recipe.quantizer.name, dim=16, **cell.recipe.quantizer.options)
        assert built.bits_per_vector == bits


def test_impossible_cells_are_named_once_and_skipped() -> None:
    cells, impossible = Grid(quantizers=["vq", "lfq"], codebook_sizes=[1000], depths=[1, 2], overrides=TINY).cells()
    assert [cell.recipe.quantizer.name for cell in cells] == ["vq"]
    assert len(impossible) == 1 and "power of two" in impossible[0][1]


def test_refuses_before_training_when_nothing_is_possible() -> None:
    with pytest.raises(TokbenchError, match="no cell of this sweep is possible.*power of two"):
        Grid(quantizers=["lfq"], codebook_sizes=[1000]).cells()
    with pytest.raises(TokbenchError, match="--bits fixes"):
        Grid(quantizers=["vq"], bits=[8], codebook_sizes=[256]).cells()
    with pytest.raises(TokbenchError, match="did you mean 'lfq'"):
        Grid(quantizers=["lqf"]).cells()
    with pytest.raises(TokbenchError, match="downsampling 3 is not a power of two"):
        Grid(quantizers=["vq"], downsamplings=[3]).cells()


def test_any_key_can_be_an_axis() -> None:
    grid = Grid(vary=["training.learning_rate=1e-4,1e-3"], seeds=[0, 1], downsamplings=[2, 8], overrides=TINY)
    cells, _ = grid.cells()
    seen = {(c.recipe.training.learning_rate, c.recipe.seed, c.recipe.model.downsampling) for c in cells}
    assert seen == {(lr, seed, f) for lr in (1e-4, 1e-3) for seed in (0, 1) for f in (2, 8)}


def test_the_address_is_of_what_matters() -> None:
    def key(*overrides: str) -> str:
        return Grid(quantizers=["vq"], overrides=[*TINY, *overrides]).cells()[0][0].key

    assert key() == key("name=other", "training.log_every=3", "data.workers=2", "training.checkpoint_every=0")
    different = {key(), key("seed=1"), key("training.steps=13"), key("quantizer.decay=0.5")}
    assert len(different) == 4


def test_the_classes_of_vector_quantize_pytorch_are_swept_too() -> None:
    names = ["vqp:VectorQuantize", "vqp:ResidualVQ", "vqp:LFQ", "vqp:FSQ"]
    cells, impossible = Grid(quantizers=names, codebook_sizes=[16], depths=[2], overrides=TINY).cells()
    assert not impossible
    built = [quantizers.build(c.recipe.quantizer.name, dim=16, **c.recipe.quantizer.options) for c in cells]
    assert [q.codebook_sizes for q in built] == [(16,), (16, 16), (16,), (15,)]
    with pytest.raises(TokbenchError, match="did you mean 'ResidualVQ'"):
        Grid(quantizers=["vqp:ResidualVq"]).cells()
