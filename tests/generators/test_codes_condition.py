"""Codes of another tokenizer as a condition: exact, cached, trained, saved; what is no such code is one line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cached_steps import check_cached_steps
from torch import Tensor

from tokbench.config.condition import CodesConfig
from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build
from tokbench.generators.noise import random_keys
from tokbench.training.generator_task import GeneratorObjective

SHAPE, VOCABULARY = (1, 3, 2), (4, 3)  # of the condition: three places, two codes each
BOTH = pytest.mark.parametrize("name", ["ar", "mlm"])


def make(name: str = "ar", dropout: float = 0.25, shape: tuple[int, ...] = (1, 2, 2), **more: Any) -> Generator:
    torch.manual_seed(0)
    kind = ARConfig if name == "ar" else MLMConfig
    settings = kind.model_validate({"width": 24, "heads": 2, "layers": 2, "input": "learned", **more})
    before = CodesConfig(shape=SHAPE, vocabulary=VOCABULARY, downsampling=2, dropout=dropout)
    model = build(GeneratorConfig(generator=settings, shape=shape, vocabulary=(3, 2), conditioned_on=before))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model.eval()


def stacks(n: int, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(k, (n, *SHAPE[:-1]), generator=draw) for k in VOCABULARY], dim=-1)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_probabilities_sum_to_one_and_depend_on_every_code_and_its_place(positions: str) -> None:
    model = make(positions=positions)
    choices = [range(size) for _ in range(model.places) for size in model.vocabulary]
    every = torch.tensor(list(itertools.product(*choices))).view(-1, *model.shape)
    given = [[0, 1], [1, 0], [2, 2]], [[0, 1], [1, 0], [2, 1]], [[1, 1], [1, 0], [2, 2]], [[1, 0], [0, 1], [2, 2]]
    found = []
    for one in (*given, None):
        condition = None if one is None else torch.tensor(one).view(SHAPE)
        found.append((-model.nll(every, condition)).exp())
        assert float(found[-1].sum()) == pytest.approx(1.0, abs=1e-5)
    assert all(not torch.allclose(a, b, rtol=1e-3) for a, b in itertools.combinations(found, 2))


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_cached_steps_equal_the_full_pass_and_codes_come_back(positions: str) -> None:
    model = make(positions=positions, shape=(2, 3, 2))
    codes, condition = torch.randint(2, (3, *model.shape)), stacks(3)
    check_cached_steps(model, codes, condition, before=stacks(3, seed=2))


@BOTH
def test_it_trains_to_what_the_condition_says_and_comes_back_from_its_folder(name: str, tmp_path: Path) -> None:
    model, condition = make(name).train(), stacks(2)
    codes = torch.tensor([[0, 1, 2, 0], [2, 0, 1, 1]]).view(2, *model.shape) % torch.tensor([3, 2])
    step = GeneratorObjective(model)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        step(codes, model.condition.of({"condition": condition}), None, random_keys(2, model.device)).backward()
        optimizer.step()
    model.eval().save_pretrained(tmp_path)
    again = Generator.from_pretrained(tmp_path)
    sampling = {"temperature": 0.0, "choice_temperature": 0.0, "guidance": 2.0}
    assert again.config == model.config
    assert torch.equal(again.generate(2, condition=condition, **sampling), codes)


@BOTH
def test_an_image_is_the_same_in_any_batch_and_one_condition_does_for_all(name: str) -> None:
    model, condition = make(name), stacks(4)
    for settings in ({}, {"guidance": 2.5}):
        together = model.generate(4, condition=condition, seed=3, **settings)
        assert torch.equal(together[1:3], model.generate(2, condition=condition[1:3], seed=3, first=1, **settings))
    one = model.generate(3, condition=condition[0], seed=3)
    assert torch.equal(one, model.generate(3, condition=condition[:1].repeat(3, 1, 1, 1), seed=3))
    assert torch.equal(model.generate(4, condition=condition, seed=3, guidance=0.0), model.generate(4, seed=3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (stacks(3), "3x1x3x2 for 2 images: the generator's is 1x3x2, one for all or one each"),
        (stacks(2).transpose(1, 2), "2x3x1x2 for 2 images"),
        (stacks(2).float(), "an int64 tensor"),
        ([1, 2], "an int64 tensor"),
        (stacks(2) + torch.tensor([0, 3]), "at depth 2 of the condition is outside its vocabulary of 3"),
        (stacks(2).index_fill(2, torch.tensor([1]), -1), "code -1 at depth 1 of the condition"),
        (None, "the generator needs a condition: 1x3x2 codes of coordinates"),
    ],
)
def test_what_is_not_such_a_condition_is_one_line(given: Any, said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        make(dropout=0.0).generate(2, condition=given)


def test_guidance_needs_a_null_and_a_condition_for_every_image() -> None:
    with pytest.raises(TokbenchError, match="guidance needs a generator trained with a dropout of its condition"):
        make(dropout=0.0).generate(2, condition=stacks(2), guidance=2.0)
    with pytest.raises(TokbenchError, match="guidance needs a condition for every image"):
        make().generate(2, guidance=2.0)


def test_a_generator_has_one_condition() -> None:
    before = CodesConfig(shape=SHAPE, vocabulary=VOCABULARY, downsampling=2)
    settings = ARConfig(width=24, heads=2, layers=1, input="learned", class_conditional=True)
    with pytest.raises(ValueError, match="a generator has one condition"):
        GeneratorConfig(generator=settings, shape=(2, 2, 2), vocabulary=(3, 2), num_classes=5, conditioned_on=before)


def test_codes_are_read_as_others_as_often_as_asked_and_the_same_in_any_part() -> None:
    model = make(shape=(2, 2, 2), pkeep=0.7)
    sequence, keys = torch.zeros(4000, 4, 2, dtype=torch.int64), random_keys(4000, torch.device("cpu"))
    assert model.read(sequence, keys) is sequence  # only in training
    read = model.train().read(sequence, keys)
    for depth, size in enumerate(model.vocabulary):
        found = read[..., depth].flatten().bincount(minlength=size) / read[..., depth].numel()
        torch.testing.assert_close(found[1:], torch.full((size - 1,), 0.3 / size), rtol=0.1, atol=0.0)
    assert torch.equal(read[100:200], model.read(sequence[100:200], keys[100:200]))
    assert not torch.equal(read[:2000], read[2000:])


def test_what_is_read_as_another_code_is_still_predicted() -> None:
    model, codes = make(pkeep=0.5, dropout=0.0).train(), torch.ones(6, 1, 2, 2, dtype=torch.int64)
    keys = random_keys(6, torch.device("cpu"))
    read = model.read(codes.flatten(1, -2), keys)
    assert not torch.equal(read, codes.flatten(1, -2))
    with torch.no_grad():
        logits = model.logits(read.view(codes.shape), stacks(6))
        wanted = torch.stack([F.cross_entropy(x.flatten(0, 1), codes[..., 0].flatten()) for x in logits])
        assert float(model.loss(codes, stacks(6), keys=keys)) == pytest.approx(float(wanted.mean()), rel=1e-5)
