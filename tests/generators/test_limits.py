"""Positions with fewer codes than the vocabulary: they cost nothing that is not there, and nothing else is drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_tokenizer import make_tokenizer
from torch import Tensor

from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build, for_tokenizer

Make = Callable[..., Generator]
LIMITS = (2, 2, 4, 8, 8, 16)
KINDS = {"ar": {}, "ar, spiral": {"order": "spiral-in"}, "mlm": {}, "pixelsnail": {}}


@pytest.fixture
def limited(make_generator: Make) -> Callable[..., Generator]:
    """``limited("ar, spiral", (2, 3), LIMITS)``: random weights, codes (2, 3, 1)."""

    def make(kind: str, grid: tuple[int, ...] = (2, 3), limits: tuple[int, ...] = LIMITS, **more: Any) -> Generator:
        shape = (*grid, 1)
        plain = make_generator(kind.split(",")[0], shape=shape, vocabulary=(max(limits),), **KINDS[kind], **more)
        model = build(plain.config.model_copy(update={"limits": limits}))
        model.load_state_dict(plain.state_dict())
        return model.eval()

    return make


def stacks(limits: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    return torch.tensor(list(itertools.product(*map(range, limits)))).view(-1, *grid, 1)


@pytest.mark.parametrize("kind", ["ar", "ar, spiral", "pixelsnail"])
def test_probabilities_of_the_stacks_that_there_are_sum_to_one(limited: Make, kind: str) -> None:
    model = limited(kind, (2, 2), (2, 3, 4, 5))
    assert float((-model.nll(stacks((2, 3, 4, 5), (2, 2)))).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1e38}, {"top_k": 12}, {"top_p": 0.999}, {"temperature": 0.0}, {"guidance": 3.0}]
)
def test_no_other_code_is_drawn(limited: Make, kind: str, sampling: dict[str, float]) -> None:
    model = limited(kind, classes=3) if "guidance" in sampling else limited(kind)
    codes = model.generate(50, condition=1 if "guidance" in sampling else None, **sampling).flatten(1)
    assert (codes.amax(0) < torch.tensor(LIMITS)).all()
    if sampling.get("temperature") == 1e38:
        assert (codes.amax(0) >= torch.tensor(LIMITS) // 2).all(), "of those that there are all may come"


@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_them_alone(limited: Make, kind: str) -> None:
    model = limited(kind, **({"pkeep": 0.5} if kind.startswith("ar") else {})).train()
    codes = model.eval().generate(8)
    loss = model.train().loss(codes)
    loss.backward()
    assert loss.isfinite() and loss < 2 * math.log(16)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if kind.startswith("ar"):
        read = model.read(model.sequence(codes), torch.arange(8))[..., 0]
        assert (model.in_place(read).amax(0) < torch.tensor(LIMITS)).all() and not torch.equal(read, codes.flatten(1))


def test_soft_targets_of_the_codes_themselves_give_the_hard_loss(limited: Make) -> None:
    model = limited("ar, spiral")
    codes = model.generate(4)
    targets = [torch.nn.functional.one_hot(codes.flatten(1), 16).float()]
    torch.testing.assert_close(model.loss(codes, targets=targets), model.loss(codes))


def test_smoothing_is_spread_over_the_codes_that_there_are(limited: Make) -> None:
    """As of a model whose vocabulary is that small."""
    few, all_ = limited("mlm", (2, 2), (4, 4, 4, 4)), limited("mlm", (2, 2), (4, 4, 4, 8))
    with torch.no_grad():
        for name, p in few.named_parameters():
            p.copy_(dict(all_.named_parameters())[name][: len(p)])
    codes, keys = torch.tensor([[[0], [1]], [[2], [3]]])[None].repeat(3, 1, 1, 1), torch.arange(3)
    plain = build(few.config.model_copy(update={"limits": ()})).eval()
    plain.load_state_dict(few.state_dict())
    torch.testing.assert_close(few.loss(codes, keys=keys), plain.loss(codes, keys=keys))
    four = build(all_.config.model_copy(update={"limits": (4, 4, 4, 4)})).eval()
    four.load_state_dict(all_.state_dict())
    torch.testing.assert_close(four.loss(codes, keys=keys), plain.loss(codes, keys=keys))


@pytest.mark.parametrize("kind", ["ar, spiral", "pixelsnail"])
def test_codes_are_coded_at_what_they_cost(limited: Make, kind: str) -> None:
    pytest.importorskip("constriction")
    from tokbench.generators.coder import ModelCoder

    model = limited(kind)
    codes = model.generate(60)
    coder = ModelCoder(model)
    words = coder.encode(codes)
    assert torch.equal(coder.decode(words, 60), codes)
    assert 32 * len(words) < float(model.nll(codes).sum()) / math.log(2) + 96


def test_other_codes_are_an_error_that_names_the_place(limited: Make) -> None:
    for kind in KINDS:
        model, codes = limited(kind), torch.zeros(1, 2, 3, 1, dtype=torch.int64)
        codes[0, 0, 1] = 3
        with pytest.raises(TokbenchError, match="code 3 at position 1 is beyond the 2 that the generator has there"):
            model.nll(codes)
    with pytest.raises(TokbenchError, match=r"2x3 codes have vocabularies by place \(quantizer vcq\)"):
        limited("ar").generate(1, size=(4, 6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": (2, 4)}, "2 limits for codes of shape 2x2x1"),
        ({"limits": (2, 4, 8, 32)}, "limits of 32 codes in a vocabulary of 16"),
        ({"generator": MLMConfig(head="bits", input="bits")}, "generator.head bits says all bits of a code"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    values = {"generator": ARConfig(input="learned"), "shape": (2, 2, 1), "vocabulary": (16,), "limits": (2, 4, 8, 16)}
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**{**values, **changes})
    tokenizer = make_tokenizer({"name": "vcq", "codebook_size": 16})
    with pytest.raises(TokbenchError, match="^generator.head bits says all bits of a code, .*; use [^ ]*=softmax$"):
        for_tokenizer(ARConfig(head="bits", input="bits"), tokenizer, source="here", image_size=16)
    assert "limits" not in GeneratorConfig(**{**values, "limits": ()}).model_dump(), (
        "files of before stay what they are"
    )
