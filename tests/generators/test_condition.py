"""The door for conditions: one of three places that no line of the package knows, through all that a class goes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from cached_steps import check_cached_steps
from gpu_device import DEVICE, on_gpu
from torch import Tensor, nn

from tokbench.config.condition import ConditionConfig
from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, Sampling, build
from tokbench.generators.condition import Condition, Given, condition_of
from tokbench.generators.noise import random_keys
from tokbench.training.generator_task import GeneratorObjective

WORDS, LENGTH = 5, 3


class TextConfig(ConditionConfig):
    """A text of three words."""

    @property
    def places(self) -> int:
        return LENGTH

    def describe(self) -> str:
        return "three words"


@condition_of(TextConfig)
class TextCondition(Condition):
    """Words int64 (n, 3) below 5; the null is three times word 5."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(WORDS + 1, width)
        self.mix = nn.Linear(width, width)

    def check(self, given: Given, n: int) -> Tensor:
        words = self.null(n) if given is None else torch.as_tensor(given, device=self.words.weight.device)
        words = words.expand(n, -1) if words.dim() == 1 else words
        if words.shape != (n, LENGTH) or int(words.min()) < 0 or int(words.max()) > WORDS:
            raise TokbenchError(f"a text is {LENGTH} words below {WORDS}, one for each of {n} images")
        return words

    def null(self, n: int) -> Tensor:
        return torch.full((n, LENGTH), WORDS, device=self.words.weight.device)

    def forward(self, condition: Tensor) -> Tensor:
        return self.mix(self.words(condition))

    def of(self, batch: Any) -> Tensor:
        return batch["text"]

    @property
    def usual(self) -> Tensor:
        return torch.tensor([[0, 1, 2], [2, 1, 0]], device=self.words.weight.device)


class TextGeneratorConfig(GeneratorConfig):
    dropout: float = 0.25

    @property
    def condition(self) -> ConditionConfig:
        return TextConfig(dropout=self.dropout)


VARIANTS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rotary": {"positions": "rotary"},
    "gpt": {"shape": (4, 1), "vocabulary": (3,), "depth_layers": 0},
}
BOTH = pytest.mark.parametrize("name", ["ar", "mlm"])


def make(
    name: str,
    shape: tuple[int, ...] = (1, 2, 2),
    vocabulary: tuple[int, ...] = (3, 2),
    dropout: float = 0.25,
    **more: Any,
) -> Generator:
    torch.manual_seed(0)
    kind = ARConfig if name == "ar" else MLMConfig
    settings = kind.model_validate({"width": 24, "heads": 2, "layers": 2, "input": "learned", **more})
    model = build(TextGeneratorConfig(generator=settings, shape=shape, vocabulary=vocabulary, dropout=dropout))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model.eval()


def texts(n: int) -> Tensor:
    return torch.randint(WORDS, (n, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_probabilities_sum_to_one_and_depend_on_every_word(variant: str) -> None:
    model = make("ar", **VARIANTS[variant])
    choices = [range(size) for _ in range(model.places) for size in model.vocabulary]
    stacks = torch.tensor(list(itertools.product(*choices))).view(-1, *model.shape)
    found = []
    for text in ([0, 1, 2], [0, 1, 3], [0, 4, 2], [3, 1, 2], None):
        given = None if text is None else torch.tensor(text)
        found.append((-model.nll(stacks, given)).exp())
        assert float(found[-1].sum()) == pytest.approx(1.0, abs=1e-5)
    assert all(not torch.allclose(a, b, rtol=1e-3) for a, b in itertools.combinations(found, 2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_steps_equal_the_full_pass_and_codes_come_back(variant: str) -> None:
    model = make("ar", **VARIANTS[variant])
    codes, text = torch.randint(2, (3, *model.shape)), texts(3)
    check_cached_steps(model, codes, text, before=texts(6)[3:])


@BOTH
def test_it_trains_to_what_the_words_say_and_is_drawn_with_guidance(name: str) -> None:
    model = make(name).train()
    step = GeneratorObjective(model)
    codes = torch.tensor([[0, 1, 2, 0], [2, 0, 1, 1]]).view(2, *model.shape) % torch.tensor([3, 2])
    batch = {"text": model.condition.usual}
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = step(codes, model.condition.of(batch), None, random_keys(2, model.device))
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    sampling = {"temperature": 0.0, "choice_temperature": 0.0, "guidance": 2.0}
    assert torch.equal(model.generate(2, condition=batch["text"], **sampling), codes)


@BOTH
def test_an_image_is_the_same_in_any_batch_and_guided_by_its_own_text(name: str) -> None:
    model, text = make(name, shape=(2, 3, 2)), texts(4)
    for settings in ({}, {"guidance": 2.5, "guidance_schedule": "cosine"}):
        together = model.generate(4, condition=text, seed=3, **settings)
        assert torch.equal(together[1:3], model.generate(2, condition=text[1:3], seed=3, first=1, **settings))
        sampler = model.batch_sampler(4, Sampling(**settings))
        assert torch.equal(together, sampler(text, 3, torch.arange(4)))
    assert torch.equal(model.generate(4, condition=text, seed=3, guidance=0.0), model.generate(4, seed=3))


def test_dropped_texts_are_the_null_as_often_as_asked_and_the_same_in_any_part() -> None:
    condition = make("ar").condition.train()
    keys, text = random_keys(4000, torch.device("cpu")), texts(4000)
    dropped = condition.drop(text, keys)
    lost = (dropped == WORDS).all(-1)
    assert float(lost.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(dropped[~lost], text[~lost])
    assert torch.equal(dropped[100:200], condition.drop(text[100:200], keys[100:200]))
    assert torch.equal(condition.eval().drop(text, keys), text)


def test_what_is_no_condition_is_one_line() -> None:
    model = make("ar", dropout=0.0)
    for wrong in (torch.tensor([0, 1]), torch.tensor([0, 1, 9]), texts(3)):
        with pytest.raises(TokbenchError, match="a text is 3 words below 5, one for each of 2 images"):
            model.generate(2, condition=wrong)
    with pytest.raises(TokbenchError, match="guidance needs a generator trained with a dropout of its condition"):
        model.generate(2, condition=texts(2), guidance=2.0)


@on_gpu
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_graphs_replay_with_another_text(guidance: float) -> None:
    model, text = make("ar", shape=(2, 3, 2)).to(DEVICE), texts(12).to(DEVICE)
    sampling, images = Sampling(guidance=guidance), torch.arange(6, device=DEVICE)
    sampler = model.batch_sampler(6, sampling)
    for part in (text[:6], text[6:]):
        assert torch.equal(sampler(part, 4, images), model.generate(6, condition=part, seed=4, sampling=sampling))
