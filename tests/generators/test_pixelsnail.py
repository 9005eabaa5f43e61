"""PixelSNAIL: what it conditions on, that it is a distribution, and that rows drawn one by one change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from tokbench.config.generator import GeneratorConfig, PixelSNAILConfig
from tokbench.config.loading import load_recipe
from tokbench.generators import Generator, build
from tokbench.generators.coder import ModelCoder
from tokbench.training.generator_task import count_parameters

Make = Callable[..., Generator]

VARIANTS = {
    "learned": {},
    "onehot": {"input": "onehot", "vocabulary": (5, 9)},
    "bits": {"input": "bits", "vocabulary": (8, 16)},
    "code vectors and classes": {"input": "codes", "classes": 3},
    "without attention": {"attention": False, "classes": 3},
    "wide kernel": {"kernel": 7, "out_layers": 2, "shape": (4, 3, 1)},
    "one column": {"shape": (5, 1, 2)},
    "one place": {"shape": (1, 1, 3)},
}
EACH = pytest.mark.parametrize("variant", VARIANTS)


def random_codes(generator: Generator, n: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.stack([torch.randint(k, (n, *generator.grid)) for k in generator.vocabulary], dim=-1)


def some_classes(generator: Generator, n: int = 3) -> torch.Tensor | None:
    return torch.arange(n) if generator.config.num_classes else None


@EACH
def test_rows_one_by_one_equal_the_whole_map(make_generator: Make, variant: str) -> None:
    model = make_generator("pixelsnail", **VARIANTS[variant])
    codes, labels = random_codes(model), some_classes(model)
    sequence, decoder = codes.flatten(1, 2), model.decoder(3)
    with torch.no_grad():
        full = model.logits(codes, labels)
        for _ in range(2):  # a decoder that held other codes before
            decoder.restart(model.condition.check(labels, 3))
            for t, d in itertools.product(range(model.places), range(model.depth)):
                if d == 0:
                    decoder.begin(t)
                torch.testing.assert_close(decoder.logits(t, d), full[d][:, t], rtol=1e-4, atol=1e-4)
                decoder.push(t, d, sequence[:, t, d])


@EACH
def test_a_code_depends_on_those_before_it_and_on_no_other(make_generator: Make, variant: str) -> None:
    model = make_generator("pixelsnail", **VARIANTS[variant])
    codes, labels = random_codes(model, 1), some_classes(model, 1)
    _, width, depth = model.shape
    before = model.logits(codes, labels)
    for t, d in {(0, 0), (model.places // 2, depth - 1), (model.places - 1, 0)}:
        changed = codes.clone()
        changed[0, t // width, t % width, d] = (changed[0, t // width, t % width, d] + 1) % model.vocabulary[d]
        after = model.logits(changed, labels)
        places = itertools.product(range(model.places), range(depth))
        moved = {(u, e): not torch.equal(before[e][0, u], after[e][0, u]) for u, e in places}
        assert not any(hit for place, hit in moved.items() if place <= (t, d))
        if model.config.generator.attention:  # sees everything
            assert all(hit for place, hit in moved.items() if place > (t, d))


@pytest.mark.parametrize(("shape", "vocabulary"), [((2, 2, 2), (2, 3)), ((2, 3, 1), (3,))])
def test_probabilities_of_all_stacks_sum_to_one(
    make_generator: Make, shape: tuple[int, ...], vocabulary: tuple[int, ...]
) -> None:
    model = make_generator("pixelsnail", shape=shape, vocabulary=vocabulary)
    choices = [range(size) for _ in range(model.places) for size in vocabulary]
    stacks = torch.tensor(list(itertools.product(*choices))).view(-1, *shape)
    assert float((-model.nll(stacks)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@EACH
def test_every_parameter_gets_a_gradient_and_checkpointing_changes_none(make_generator: Make, variant: str) -> None:
    model = make_generator("pixelsnail", **{**VARIANTS[variant], "dropout": 0.0}).train()
    found = []
    for on in (False, True):
        model.checkpoint_activations(on)
        model.zero_grad()
        model.loss(random_codes(model), some_classes(model)).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found)


def test_codes_come_back_from_a_range_coder(make_generator: Make) -> None:
    model = make_generator("pixelsnail", classes=2)
    codes, coder = random_codes(model, 2), ModelCoder(model)
    words = coder.encode(codes, torch.tensor([0, 1]))
    assert torch.equal(coder.decode(words, 2, torch.tensor([0, 1])), codes)
    bits = float(model.nll(codes, torch.tensor([0, 1])).sum()) / 0.6931
    assert 32 * len(words) == pytest.approx(bits, abs=64)


def test_parameters_as_in_the_official_one() -> None:
    """rosinality's has 196,056; ours has one vector more, which stands for no condition."""
    settings = PixelSNAILConfig(width=32, hidden=16, kernel=5, blocks=2, layers=2, out_layers=1)
    made = build(GeneratorConfig(generator=settings, shape=(6, 6, 1), vocabulary=(12,)))
    assert sum(p.numel() for p in made.parameters()) == 196_056 + 32
    recipe = load_recipe("generators/pixelsnail")
    assert count_parameters(recipe) > 20e6  # without its tokenizer: what the blocks have


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kernel": 4}, "kernel 4 is not odd and at least 3"),
        ({"width": 20, "heads": 8}, "half of the width 20 is not a multiple of heads 8"),
        ({"shape": (2, 3, 3, 1)}, "codes in rows and columns; these have 3 axes"),
        ({"input": "onehot", "vocabulary": (4096, 1)}, "4097 codes are more than 4096 channels; use generator.input"),
        ({"condition_layers": 1}, "condition_layers and condition_width are for a condition that is a map"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(make_generator: Make, settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_generator("pixelsnail", **settings)
