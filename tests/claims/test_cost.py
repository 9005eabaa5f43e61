"""What is counted is what a train step does."""

from __future__ import annotations

from pathlib import Path

import pytest
from claims_tiny import tiny

from tokbench.claims.cost import PEAK, UTILISATION, costs
from tokbench.claims.definition import load_claim
from tokbench.claims.plan import plan_claim
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.training.flops import train_step_flops


def step_flops(cell: Cell) -> float:
    return train_step_flops(cell.recipe, cell.tokenizer.recipe if isinstance(cell, GeneratorCell) else None)


def cells(folder: Path, **sweep: object) -> list[Cell]:
    claim = load_claim(str(tiny(folder, "mine", {"one": {"quantizer": "vq", "codebook_size": 16, **sweep}})))
    return plan_claim(claim, "cpu", folder, seeds=[0]).plan.cells


def test_a_larger_codebook_costs_its_search(tmp_path: Path) -> None:
    small, large = (step_flops(cell) for cell in cells(tmp_path, codebook_size=[16, 1024]))
    # 16x16 pixels at f2: 64 positions, each compared with every code over 8 channels.
    assert large - small == 2 * 64 * 8 * (1024 - 16)


def test_depths_are_searches_and_bits_are_none(tmp_path: Path) -> None:
    one, four = (step_flops(cell) for cell in cells(tmp_path, quantizer="rq", depth=[1, 4]))
    assert four - one == 3 * 2 * 64 * 8 * 16
    (lfq,) = cells(tmp_path, quantizer="lfq", set=["model.code_channels=8"])
    assert step_flops(lfq) < one  # but for its linear maps the same networks, and no search


def test_a_convolution_is_counted_there_and_back(tmp_path: Path) -> None:
    # Twice the side is four times the work of a network that is all convolutions, and of the search.
    same = ["model.attention_resolutions=[]", "model.middle_attention=false"]
    small, large = cells(tmp_path, set=same), cells(tmp_path, set=[*same, "data.image_size=32"])
    assert step_flops(large[0]) == pytest.approx(4 * step_flops(small[0]))


def test_hours_are_steps_and_pictures(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path)
    (cost,) = costs([cell])
    assert cost.flops == step_flops(cell) * 12 * 8
    assert cost.hours == pytest.approx(cost.flops / (PEAK * UTILISATION * 3600))
    (longer,) = costs(cells(tmp_path, set=["training.steps=24"]))
    assert longer.flops == 2 * cost.flops


def test_a_discriminator_and_lpips_cost_more(tmp_path: Path) -> None:
    adversarial = "loss.adversarial={discriminator: {name: patchgan, channels: 8, layers: 1}, start: 6}"
    plain, half, perceptual = (
        step_flops(cells(tmp_path, set=more)[0])
        for more in ([], [adversarial], ["loss.perceptual={net: alex}", "data.image_size=64"])
    )
    (whole,) = (step_flops(cells(tmp_path, set=[adversarial.replace("6", "0")])[0]),)
    assert half - plain == pytest.approx((whole - plain) / 2)  # it trains in half of the steps
    assert perceptual > 16 * plain


def test_a_generator_costs_six_flops_a_weight_and_code(tmp_path: Path) -> None:
    small = ["generator.width=64", "generator.heads=2", "generator.layers=2", "generator.depth_layers=0"]
    found = cells(tmp_path, generator="ar", set_generator=small)
    flops = step_flops(found[1])
    weights = 2 * 12 * 64**2  # of the blocks; what attention and the maps in and out add is less
    assert 6 * weights * 64 < flops < 2 * 6 * weights * 64
