"""Grids: which cells, none twice, and what is said of the impossible."""

from __future__ import annotations

import pytest
from recipes_tiny import TINY

import quantizers
from tokbench.errors import TokbenchError
from tokbench.models.unweighted import unweighted
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.settings import SweepSettings


def settings(grid: SweepSettings) -> list[dict]:
    return [cell.recipe.quantizer.model_dump() for cell in tokenizer_cells(grid)[0]]


def test_as_typed_in_the_readme() -> None:
    assert settings(SweepSettings(quantizer=["rq"], depth=[4])) == [{"name": "rq", "codebook_size": 256, "depth": 4}]


def test_depth_is_an_axis_only_where_there_is_depth() -> None:
    grid = SweepSettings(quantizer=["vq", "rq", "lfq"], codebook_size=[256, 1024], depth=[1, 2, 4, 8], set=TINY)
    found = settings(grid)
    assert sum(q["name"] == "vq" for q in found) == 2
    assert sum(q["name"] == "lfq" for q in found) == 2
    assert {(q["codebook_size"], q["depth"]) for q in found if q["name"] == "rq"} == {
        (k, d) for k in (256, 1024) for d in (1, 2, 4, 8)
    }
    keys = [cell.key for cell in tokenizer_cells(grid)[0]]
    assert len(keys) == len(set(keys)) == 12


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_bits_puts_every_quantizer_at_one_rate(bits: int) -> None:
    names = ["vq", "rq", "lfq"]
    cells, impossible = tokenizer_cells(SweepSettings(quantizer=names, bits=[bits], set=TINY))
    assert not impossible
    assert {cell.recipe.quantizer.name for cell in cells} == set(names)
    for cell in cells:
        built = quantizers.build(cell.recipe.quantizer.name, dim=16, **cell.recipe.quantizer.options)
        assert built.bits_per_vector == bits


def test_bits_are_the_rate_of_an_image_whatever_its_codes_are() -> None:
    """A pyramid has more codes than the map has positions; a row of tokens fewer."""
    pyramids = SweepSettings(quantizer=["vq", "ms-rq", "gfq"], bits=[8], set=TINY)
    assert _bits(pyramids) == pytest.approx([8 * 64] * 3, rel=0.01)
    scales = ["quantizer.scales=[4,8]", "quantizer.quantizer=bsq", "model.code_channels=null"]
    assert _bits(SweepSettings(quantizer=["ms-rq"], bits=[10], set=[*TINY, *scales])) == [10 * 64]
    varied = SweepSettings(quantizer=["ms-rq"], bits=[8], vary=["quantizer.scales=[8],[1,4,8]"], set=TINY)
    assert _bits(varied) == pytest.approx([8 * 64] * 2, rel=0.01)
    rows = SweepSettings(encoder=["vqgan", "titok"], image_bits=[256], quantizer=["vq"], set=[*TINY, "model.tokens=16"])
    assert _bits(rows) == [256] * 2
    assert _bits(SweepSettings(quantizer=["vcq"], bits=[4], set=TINY)) == [4 * 64], "a codebook that grows: 2 to 2^7"
    own = ["ms-rq:quantizer.scales=[8]", "vcq:quantizer.growth=0.5"]
    assert _bits(SweepSettings(quantizer=["vq", "ms-rq", "vcq"], bits=[5], set=[*TINY, *own])) == pytest.approx(
        [5 * 64] * 3, rel=0.05
    )
    for bits in (1, 160):
        with pytest.raises(TokbenchError, match="for each of its 155 codes, which hold 1 to 62"):
            tokenizer_cells(SweepSettings(quantizer=["ms-rq"], bits=[bits], set=TINY))
    with pytest.raises(TokbenchError, match="100 bits an image are no whole number for each of its 64 positions"):
        tokenizer_cells(SweepSettings(quantizer=["vq"], image_bits=[100], set=TINY))
    with pytest.raises(TokbenchError, match="give one of the two"):
        tokenizer_cells(SweepSettings(quantizer=["vq"], image_bits=[64], bits=[1], set=TINY))
    with pytest.raises(TokbenchError, match="more than one int64 code holds"):
        tokenizer_cells(SweepSettings(quantizer=["vq"], bits=[63], set=TINY))


def _bits(grid: SweepSettings) -> list[float]:
    cells, impossible = tokenizer_cells(grid)
    assert not impossible
    return [unweighted(cell.recipe.tokenizer).rate()["bits_per_image"] for cell in cells]


def test_impossible_cells_are_named_once_and_skipped() -> None:
    both = SweepSettings(quantizer=["vq", "lfq"], codebook_size=[1000], depth=[1, 2], set=TINY)
    cells, impossible = tokenizer_cells(both)
    assert [cell.recipe.quantizer.name for cell in cells] == ["vq"]
    assert len(impossible) == 1 and "power of two" in impossible[0][1]


def test_refuses_before_training_when_nothing_is_possible() -> None:
    with pytest.raises(TokbenchError, match="no cell of this sweep is possible.*power of two"):
        tokenizer_cells(SweepSettings(quantizer=["lfq"], codebook_size=[1000]))
    with pytest.raises(TokbenchError, match="--bits fixes"):
        tokenizer_cells(SweepSettings(quantizer=["vq"], bits=[8], codebook_size=[256]))
    with pytest.raises(TokbenchError, match="did you mean 'lfq'"):
        tokenizer_cells(SweepSettings(quantizer=["lqf"]))
    with pytest.raises(TokbenchError, match="downsampling 3 is not a power of two"):
        tokenizer_cells(SweepSettings(quantizer=["vq"], downsampling=[3]))


def test_any_key_can_be_an_axis() -> None:
    grid = SweepSettings(vary=["training.learning_rate=1e-4,1e-3"], seed=[0, 1], downsampling=[2, 8], set=TINY)
    cells, _ = tokenizer_cells(grid)
    seen = {(c.recipe.training.learning_rate, c.recipe.seed, c.recipe.model.downsampling) for c in cells}
    assert seen == {(lr, seed, f) for lr in (1e-4, 1e-3) for seed in (0, 1) for f in (2, 8)}


def test_a_setting_may_be_one_quantizers() -> None:
    own = ["lfq:quantizer.temperature=1.0", "lfq:quantizer.entropy_weight=0.05", "quantizer.check_finite=false"]
    vq, lfq = settings(SweepSettings(quantizer=["vq", "lfq"], set=[*TINY, *own]))
    assert lfq["temperature"] == 1.0 and lfq["entropy_weight"] == 0.05 and "temperature" not in vq
    assert not lfq["check_finite"] and not vq["check_finite"]
    for given, said in {
        "lqf:quantizer.temperature=1": "did you mean 'lfq'",
        "lfq:training.steps=3": "of one quantizer only quantizer.KEY is set; all train alike",
        "lfq:quantizer.temperature_=1": "did you mean 'temperature'",
    }.items():
        with pytest.raises(TokbenchError, match=said) as error:
            tokenizer_cells(SweepSettings(quantizer=["vq", "lfq"][1:], set=[*TINY, given]))
        assert "\n" not in str(error.value)


def test_the_address_is_of_what_matters() -> None:
    def key(*overrides: str) -> str:
        return tokenizer_cells(SweepSettings(quantizer=["vq"], set=[*TINY, *overrides]))[0][0].key

    assert key() == key("name=other", "training.log_every=3", "data.workers=2", "training.checkpoint_every=4")
    different = {key(), key("seed=1"), key("training.steps=13"), key("quantizer.decay=0.5")}
    assert len(different) == 4


def test_the_classes_of_vector_quantize_pytorch_are_swept_too() -> None:
    names = ["vqp:VectorQuantize", "vqp:ResidualVQ", "vqp:LFQ", "vqp:FSQ"]
    cells, impossible = tokenizer_cells(SweepSettings(quantizer=names, codebook_size=[16], depth=[2], set=TINY))
    assert not impossible
    built = [quantizers.build(c.recipe.quantizer.name, dim=16, **c.recipe.quantizer.options) for c in cells]
    assert [q.codebook_sizes for q in built] == [(16,), (16, 16), (16,), (15,)]
    with pytest.raises(TokbenchError, match="did you mean 'ResidualVQ'"):
        tokenizer_cells(SweepSettings(quantizer=["vqp:ResidualVq"]))
