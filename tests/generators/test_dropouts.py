"""Three places of dropout, set one by one as the papers' codes set them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tokbench.generators import Generator
from tokbench.generators.transformer import Attention

Make = Callable[..., Generator]


@pytest.mark.parametrize("name", ["ar", "mlm"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dropout": 0.2}, (0.2, 0.2, 0.2)),
        ({"dropout": 0.2, "attention_dropout": 0.0}, (0.2, 0.0, 0.2)),
        ({"dropout": 0.2, "attention_dropout": 0.0, "embedding_dropout": 0.0}, (0.2, 0.0, 0.0)),
        ({"attention_dropout": 0.3}, (0.0, 0.3, 0.0)),
        ({"embedding_dropout": 0.4}, (0.0, 0.0, 0.4)),
    ],
)
def test_each_is_where_it_says(
    make_generator: Make, name: str, settings: dict[str, float], expected: tuple[float, float, float]
) -> None:
    made = make_generator(name, **settings)
    residual, attention, embedding = expected
    layers = {key: module.p for key, module in made.named_modules() if isinstance(module, nn.Dropout)}
    assert layers.pop("drop") == embedding
    assert set(layers.values()) == {residual}
    assert {module.dropout for module in made.modules() if isinstance(module, Attention)} == {attention}


@pytest.mark.parametrize("settings", [{"attention_dropout": 0.5}, {"embedding_dropout": 0.5}, {"dropout": 0.5}, {}])
def test_each_is_at_work_in_training_alone(make_generator: Make, settings: dict[str, float]) -> None:
    made, codes = make_generator("ar", **settings), torch.randint(7, (2, 3, 4, 2))

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat(made.logits(codes))

    made.eval()
    assert torch.equal(logits(), logits())
    made.train()
    assert torch.equal(logits(), logits()) == (not settings)
