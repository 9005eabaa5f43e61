"""PixelSNAIL: what it conditions on, that it is a distribution, and that rows drawn one by one change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from tokbench.config.condition import TextConfig
from tokbench.config.generator import GeneratorConfig, PixelSNAILConfig
from tokbench.config.loading import load_recipe
from tokbench.generators import Generator, PixelSNAIL, build
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
    "a row of tokens": {"shape": (6, 2)},
    "a clip": {"shape": (2, 3, 2, 1)},
}
EACH = pytest.mark.parametrize("variant", VARIANTS)


def told(padding: str, shape: tuple[int, ...] = (2, 2, 1), **more: object) -> PixelSNAIL:
    """Given a text of three tokens, of which 0 is padding; weights that are not timid."""
    torch.manual_seed(0)
    text = TextConfig.model_validate(
        {"length": 3, "vocabulary": 5, "loss_weight": 0.0, "padding": padding, "dropout": 0.2}
    )
    values = {"width": 24, "heads": 2, "hidden": 16, "kernel": 3, "blocks": 2, "layers": 1, "input": "learned", **more}
    settings = PixelSNAILConfig.model_validate(values)
    config = GeneratorConfig(generator=settings, shape=shape, vocabulary=(3,) * shape[-1], conditioned_on=text)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    assert isinstance(model, PixelSNAIL)
    return model.eval()


def random_codes(generator: Generator, n: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.stack([torch.randint(k, (n, *generator.grid)) for k in generator.vocabulary], dim=-1)


def some_classes(generator: Generator, n: int = 3) -> torch.Tensor | None:
    return torch.arange(n) if generator.config.num_classes else None


@EACH
def test_rows_one_by_one_equal_the_whole_map(make_generator: Make, variant: str) -> None:
    model = make_generator("pixelsnail", **VARIANTS[variant])
    codes, labels = random_codes(model), some_classes(model)
    sequence, decoder = codes.flatten(1, -2), model.decoder(3)
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
    depth = model.depth
    before = model.logits(codes, labels)
    for t, d in {(0, 0), (model.places // 2, depth - 1), (model.places - 1, 0)}:
        changed = codes.clone()
        place = changed.view(-1, depth)[t]
        place[d] = (place[d] + 1) % model.vocabulary[d]
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
        ({"frames": 5, "class_conditional": True}, "frames and class_conditional: a generator has one condition"),
        ({"input": "onehot", "vocabulary": (4096, 1)}, "4097 codes are more than 4096 channels; use generator.input"),
        ({"condition_layers": 1}, "condition_layers and condition_width are for a condition that is a map"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(make_generator: Make, settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_generator("pixelsnail", **settings)


@pytest.mark.parametrize(("padding", "shape"), [("read", (2, 2, 1)), ("masked", (4, 1))])
def test_a_text_is_told_and_every_token_counts_but_masked_padding(padding: str, shape: tuple[int, ...]) -> None:
    model = told(padding, shape)
    stacks = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, *shape)
    found = [(-model.nll(stacks, torch.tensor(text))).exp() for text in ([1, 2, 0], [2, 1, 0], [1, 3, 0], [1, 2, 4])]
    assert all(float(each.sum()) == pytest.approx(1.0, abs=1e-5) for each in found)
    assert all(not torch.allclose(a, b, rtol=1e-3) for a, b in itertools.combinations(found, 2))
    assert model.place is not None
    with torch.no_grad():
        model.place[2] += 3.0  # where the first text has padding
    moved = (-model.nll(stacks, torch.tensor([1, 2, 0]))).exp()
    assert torch.allclose(moved, found[0], rtol=1e-4) == (padding == "masked")


def test_what_is_told_holds_row_by_row_in_any_batch_and_with_guidance() -> None:
    model, texts = told("masked", (3, 3, 2)), torch.tensor([[1, 2, 3], [4, 0, 0], [2, 2, 0]])
    for settings in ({}, {"guidance": 2.0}):
        drawn = model.generate(3, condition=texts, seed=1, **settings)
        assert torch.equal(drawn[1:2], model.generate(1, condition=texts[1:2], seed=1, first=1, **settings))
    likeliest = model.generate(3, condition=texts, temperature=0)
    whole = torch.stack([x.argmax(-1) for x in model.logits(likeliest, texts)], dim=-1)
    assert torch.equal(whole, likeliest.flatten(1, 2))
    coder = ModelCoder(model)
    assert torch.equal(coder.decode(coder.encode(drawn, texts), 3, texts), drawn)
    model.train().loss(drawn, texts).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_sequence_without_attention_to_read_it_is_one_line() -> None:
    with pytest.raises(ValueError, match="attention false: a condition of 3 places is read by attention"):
        told("read", attention=False)
