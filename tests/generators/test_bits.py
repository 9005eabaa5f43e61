"""Heads that say codes bit by bit: distributions over codes that no row could be kept of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_tokenizer import make_tokenizer
from torch import Tensor

from tokbench.config.generator import ARConfig, GeneratorEvaluationConfig, GeneratorRecipe
from tokbench.config.generator_model import VARGeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, for_tokenizer
from tokbench.generators.bits import BitHead, to_bits, to_codes
from tokbench.generators.coder import ModelCoder
from tokbench.generators.compression import Codec
from tokbench.generators.noise import image_keys
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.rate import model_bits
from tokbench.training.generator_evaluation import evaluate_generator

Make = Callable[..., Generator]
HEADS = ("bits", "masked-bits")
HUGE = (2**31, 2**62)  # what a code of 62 bits is split into, and one that is not

by_head = pytest.mark.parametrize("head", HEADS)
with_and_without_depth = pytest.mark.parametrize("depth_layers", [0, 1])


def all_stacks(shape: tuple[int, ...], vocabulary: tuple[int, ...]) -> Tensor:
    places = torch.Size(shape[:-1]).numel()
    return torch.tensor(list(itertools.product(*[range(k) for k in vocabulary * places]))).view(-1, *shape)


def random_codes(generator: Generator, n: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    sides = (n, *generator.grid)
    return torch.stack([torch.randint(k, sides, generator=random) for k in generator.vocabulary], dim=-1)


@by_head
@with_and_without_depth
def test_probabilities_of_all_stacks_sum_to_one(make_generator: Make, head: str, depth_layers: int) -> None:
    shape, vocabulary = (1, 2, 2), (2, 4)
    model = make_generator("ar", shape, vocabulary, input="bits", head=head, depth_layers=depth_layers, order="z-curve")
    chances = (-model.nll(all_stacks(shape, vocabulary))).exp()
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(chances.max()) > 10 * float(chances.min())  # a head that says something
    logits = model.logits(all_stacks(shape, vocabulary))
    assert [x.shape for x in logits] == [(64, 2, 2)] * 3


def test_a_head_of_bits_of_all_depths_is_read_once_at_a_position(make_generator: Make) -> None:
    """A floor of what drawing takes must not count it once a depth; depth layers draw depth by depth."""
    for depth_layers, times in ((0, 1), (1, 2)):
        model = make_generator("ar", (1, 2, 2), (4, 4), input="bits", head="bits", depth_layers=depth_layers)
        size = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
        cache = 2 * model.body.width * len(model.body.blocks)
        expected = size["body"] + cache + times * (size.get("head", 0) + size["bit_heads"])
        assert model.decoder(1).bytes_per_position(0) == 4 * expected


@by_head
@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_what_is_drawn_has_the_chances_that_the_nll_says(make_generator: Make, name: str, head: str) -> None:
    shape, vocabulary = (1, 1, 2), (2, 4)
    settings = {"depth_layers": 0} if name == "ar" else {}
    model = make_generator(name, shape, vocabulary, input="bits", head=head, **settings)
    stacks = all_stacks(shape, vocabulary)
    drawn = model.generate(2000, seed=3)
    found = (drawn[:, None] == stacks).flatten(2).all(-1).float().mean(0)
    torch.testing.assert_close(found, (-model.nll(stacks)).exp().float(), atol=0.03, rtol=0)
    likeliest = model.generate(2, seed=1, temperature=0.0)
    assert torch.equal(likeliest[0], likeliest[1])


def test_one_step_draws_each_bit_by_itself_and_all_steps_fill_everything(make_generator: Make) -> None:
    model = make_generator("ar", (1, 1, 1), (8,), input="bits", head="masked-bits", depth_layers=0)
    bits = to_bits(model.generate(3000, seed=4, bit_steps=1).flatten(1), (3,)).float()
    context = model.norm(model._contexts(torch.zeros(1, 1, 1, dtype=torch.int64), torch.tensor([-1]))[1][0])
    head = model.bit_head(range(1))
    alone = head.logits(head.context(context[0, 0]), torch.zeros(3)).sigmoid()
    torch.testing.assert_close(bits.mean(0), alone, atol=0.03, rtol=0)
    assert bits.T.cov().triu(1).abs().max() < 0.03
    torch.testing.assert_close(
        *[model.generate(50, seed=4, bit_steps=n) for n in (3, 99)], rtol=0, atol=0
    )  # more steps than bits are as many as bits


def test_the_loss_of_masks_is_what_the_bits_cost_in_an_order_by_chance() -> None:
    torch.manual_seed(0)
    head = BitHead(8, 3, 1, masked=True)
    context, bits = torch.randn(8), torch.tensor([True, False, True])
    signed, cost = bits.float() * 2 - 1, 0.0
    for order in itertools.permutations(range(3)):
        known = torch.zeros(3)
        for bit in order:
            logit = head.logits(head.context(context), known)[bit]
            cost -= torch.nn.functional.logsigmoid(signed[bit] * logit).item() / 6
            known[bit] = signed[bit]
    keys = image_keys(0, torch.arange(20_000))
    losses = head.nats(context.expand(20_000, 8), bits.expand(20_000, 3), keys)
    assert float(losses.detach().mean()) == pytest.approx(cost, rel=0.01)


@by_head
@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_parts_of_a_batch_have_the_loss_of_the_whole_and_every_parameter_a_gradient(
    make_generator: Make, name: str, head: str
) -> None:
    model = (
        make_generator(name, vocabulary=(8, 16), input="bits", head=head, share_head=False)
        if name == "ar"
        else (make_generator(name, vocabulary=(8, 16), input="bits", head=head))
    )
    codes, keys = random_codes(model, 4), image_keys(7, torch.arange(4))
    whole = model.train().loss(codes, keys=keys)
    parts = [model.loss(codes[i : i + 2], keys=keys.roll(-i)) for i in (0, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    whole.backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    if head == "bits" and name == "ar":
        assert whole.item() == pytest.approx(float(model.nll(codes).mean()) / model.codes_per_image, rel=1e-5)


@by_head
@with_and_without_depth
def test_codes_of_93_bits_go_through_the_range_coder_at_their_nll(
    make_generator: Make, head: str, depth_layers: int
) -> None:
    model = make_generator("ar", (1, 3, 2), HUGE, input="bits", head=head, depth_layers=depth_layers)
    codes = torch.cat([random_codes(model, 2), model.generate(3, temperature=0.5)])
    coder = ModelCoder(model)
    words = coder.encode(codes)
    assert torch.equal(coder.decode(words, 5), codes)
    assert 32 * len(words) == pytest.approx(float(model_bits(model, codes).sum()), rel=0.01, abs=64)


@by_head
def test_given_codes_stay_and_a_window_slides(make_generator: Make, head: str) -> None:
    model = make_generator("ar", (2, 2, 2), HUGE, input="bits", head=head, depth_layers=0)
    steps = {"bit_steps": 4} if head == "masked-bits" else {}
    given, mask = random_codes(model, 1), torch.tensor([[True, True], [False, False]])
    made = model.generate(3, given=given, mask=mask, **steps)
    assert torch.equal(made[:, mask], given[:, mask].expand(3, -1, -1)) and not torch.equal(made[0], made[1])
    assert torch.equal(made[1:], model.generate(2, first=1, given=given, mask=mask, **steps))
    model.check_codes(model.generate(1, size=(3, 4), **steps), (3, 4))


def test_a_tokenizer_of_62_bits_compresses_under_a_generator_without_a_row_for_each_code(tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"name": "bsq", "bits": 62})
    settings = ARConfig(width=16, heads=2, layers=1, depth_layers=1, head="bits", input="bits")
    torch.manual_seed(0)
    codec = Codec(tokenizer, generator=for_tokenizer(settings, tokenizer, source="here", image_size=16).eval())
    image = torch.rand(1, 3, 20, 30) * 2 - 1
    made = codec.write(image, tmp_path / "x.tokb")
    assert torch.equal(codec.read_codes(tmp_path / "x.tokb")[0], codec.encode(image))
    assert made.payload_bits == pytest.approx(made.predicted_bits, rel=0.01, abs=64)
    with pytest.raises(TokbenchError, match="top_k 5 is of whole codes"):  # before any image is looked at
        evaluate_generator(Pipeline(codec.generator, tokenizer), None, GeneratorEvaluationConfig(top_k=5))
    for key, value in (("head", "softmax"), ("input", "codes"), ("input", "learned")):
        with pytest.raises(TokbenchError, match=f"generator.{key} {value} has a row for each of 2147483648 codes"):
            for_tokenizer(settings.model_copy(update={key: value}), tokenizer, source="here", image_size=16)


def test_codes_that_are_read_in_place_of_others_are_any_of_the_vocabulary(
    make_generator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_generator("ar", (4, 4, 2), HUGE, input="bits", head="bits", pkeep=1e-6).train()
    read = model.read(model.sequence(random_codes(model, 40)), image_keys(3, torch.arange(40)))
    model.check_codes(read.view(40, 4, 4, 2))
    shares = torch.cat([to_bits(read[..., d : d + 1], (n,)).float().mean((0, 1)) for d, n in enumerate((31, 62))])
    torch.testing.assert_close(shares, torch.full((93,), 0.5), atol=0.1, rtol=0)
    # What fp32 makes of 1 - 2^-25.
    monkeypatch.setattr("tokbench.generators.ar.uniform", lambda keys: torch.ones(keys.shape))
    plain = make_generator("ar", pkeep=0.5).train()
    read = plain.read(plain.sequence(random_codes(plain, 2)), image_keys(3, torch.arange(2)))
    plain.check_codes(read.view(2, 3, 4, 2))


def test_bits_and_codes_are_each_others_inverse() -> None:
    codes = torch.tensor([[5, 2**62 - 1], [0, 2**61 + 1]])
    assert torch.equal(to_codes(to_bits(codes, (3, 62)), (3, 62)), codes)


def test_what_a_head_of_bits_cannot_do_is_one_line(make_generator: Make) -> None:
    for settings, said in (
        ({"vocabulary": (8, 9), "head": "bits"}, "generator.head bits needs vocabularies that are powers of two; 9"),
        ({"head": "bits", "vocabulary": (8, 8), "soft_targets": 0.5}, "soft_targets are shares of whole codes"),
        ({"bit_layers": 3}, "bit_layers are of a head of bits"),
    ):
        with pytest.raises(ValueError, match=said):
            make_generator("ar", **settings)
    model = make_generator("ar", vocabulary=(8, 8), head="bits")
    for sampling, said in (
        ({"top_k": 5}, "top_k 5 is of whole codes, and head bits draws bits: use temperature"),
        ({"top_p": 0.5}, "top_p 0.5 is of whole codes"),
        ({"bit_steps": 2}, "bit_steps 2 is for head masked-bits, not for bits"),
        ({"bit_steps": 0}, "bit_steps 0 is below 1"),
    ):
        with pytest.raises(TokbenchError, match=said):
            model.generate(1, **sampling)
    with pytest.raises(ValueError, match="flipped_scales says where bits are flipped"):
        VARGeneratorConfig(flipped_scales=2)
    with pytest.raises(ValueError, match=r"evaluation\.top_k 5 is of whole codes"):
        GeneratorRecipe.model_validate(
            {"name": "x", "tokenizer": "t", "generator": {"name": "mlm", "head": "bits"}, "evaluation": {"top_k": 5}}
        )
    with pytest.raises(TokbenchError, match="soft targets are shares of whole codes"):
        codes = random_codes(model, 1)
        model.loss(codes, targets=[torch.full((1, 12, 8), 1 / 8)] * 2)
