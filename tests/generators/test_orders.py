"""Orders of the positions: every one an exact, cached, trainable model of the same maps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.config.generator_model import Order
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.generators.coder import ModelCoder
from tokbench.generators.orders import order_of

ORDERS = get_args(Order)


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (5, 1), (3, 5), (6, 4), (8, 8)])
@pytest.mark.parametrize("name", ORDERS)
def test_every_map_has_every_order(name: Any, grid: tuple[int, int]) -> None:
    assert sorted(order_of(name, grid).tolist()) == list(range(grid[0] * grid[1]))


def test_orders_are_what_they_are_called() -> None:
    assert order_of("spiral-in", (3, 4)).tolist() == [11, 7, 3, 2, 1, 0, 4, 8, 9, 10, 6, 5]
    assert order_of("alternate", (3, 2)).tolist() == [0, 1, 3, 2, 4, 5]
    assert order_of("subsample", (4, 4)).tolist()[:4] == [0, 2, 8, 10]
    assert order_of("z-curve", (4, 4)).tolist()[:4] == [0, 1, 4, 5]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("name", ["spiral-in", "random"])
def test_drawn_codes_are_those_of_the_full_pass_and_come_back(
    make_generator: Callable[..., Generator], name: str, positions: str, tmp_path: Path
) -> None:
    model = make_generator("ar", (2, 3, 2), (3, 2), order=name, positions=positions)
    drawn = model.generate(4, temperature=0)
    with torch.no_grad():
        logits = model.logits(drawn)
    for depth, found in enumerate(logits):
        assert torch.equal(found.argmax(-1), drawn[..., depth].flatten(1))
    codes = torch.randint(2, (3, *model.shape), generator=torch.Generator().manual_seed(0))
    coder = ModelCoder(model)
    assert torch.equal(coder.decode(coder.encode(codes), 3), codes)
    model.save_pretrained(tmp_path)
    assert torch.equal(Generator.from_pretrained(tmp_path).nll(codes), model.nll(codes))


def test_probabilities_sum_to_one(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", (2, 2, 1), (3,), order="spiral-out")
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2, 1)
    assert float((-model.nll(every)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_targets_belong_to_their_positions(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", (2, 3, 1), (5,), order="z-curve")
    codes = torch.randint(5, (2, 2, 3, 1), generator=torch.Generator().manual_seed(0))
    hard = [torch.nn.functional.one_hot(codes.flatten(1, 2)[..., 0], 5).float()]
    torch.testing.assert_close(model.loss(codes, targets=hard), model.loss(codes))


def test_what_an_order_has_drawn_first_is_completed(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", (4, 4, 1), (7,), order="spiral-out")
    middle = torch.zeros(4, 4, dtype=torch.bool)
    middle[1:3, 1:3] = True
    given = torch.randint(7, (1, 4, 4, 1), generator=torch.Generator().manual_seed(0))
    found = model.generate(3, given=given, mask=middle)
    assert torch.equal(found[:, middle], given[:, middle].expand(3, -1, -1)) and not torch.equal(found[0], found[1])
    with pytest.raises(TokbenchError, match="ar completes in spiral-out order"):
        model.generate(1, given=given, mask=~middle)


@pytest.mark.parametrize(
    ("shape", "given", "said"),
    [((4, 1), 0, "z-curve is of rows and columns; these codes are 4"), ((3, 2, 2, 1), 1, "2x2|rows and columns")],
)
def test_an_order_that_there_is_not_is_one_line(shape: tuple[int, ...], given: int, said: str) -> None:
    settings = ARConfig(width=24, heads=2, layers=1, input="learned", order="z-curve", frames=given)
    with pytest.raises(ValueError, match=said):
        GeneratorConfig(generator=settings, shape=shape, vocabulary=(3,), given=given)
