"""AR: what it conditions on, that it is a distribution, and that the cache changes nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from tokbench.config.generator import SIZES, ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build
from tokbench.generators.ar_decoding import ARDecoder
from tokbench.generators.stepping import Steps
from tokbench.generators.transformer import Dropouts, Transformer, axial_rotation

Make = Callable[..., Generator]

VARIANTS = {
    "rq": {},
    "class": {"classes": 5},
    "gpt": {"shape": (3, 4, 1), "depth_layers": 0},
    "depth 1 with a depth stack": {"shape": (3, 4, 1), "input": "codes"},
    "rotary": {"positions": "rotary"},
    "code vectors": {"input": "codes", "classes": 3},
    "bits": {"input": "bits", "vocabulary": (8, 16)},
    "sub-tokens of unequal size": {"vocabulary": (5, 9)},
    "last code": {"depth_context": "last", "input": "codes", "depth_heads": 4},
    "separate heads": {"share_head": False, "shape": (2, 3, 4)},
}


def random_codes(generator: Generator, n: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    height, width, _ = generator.shape
    return torch.stack([torch.randint(k, (n, height, width)) for k in generator.vocabulary], dim=-1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_steps_equal_the_full_pass(make_generator: Make, variant: str) -> None:
    model = make_generator("ar", **VARIANTS[variant])
    codes = random_codes(model)
    labels = torch.arange(3) if model.config.num_classes else None
    with torch.no_grad():
        full = model.logits(codes, labels)
        decoder = ARDecoder(model, 3)
        decoder.restart(model.condition.check(labels, 3))
        sequence = codes.flatten(1, 2)
        for t in range(sequence.shape[1]):
            decoder.begin(t)
            for d in range(sequence.shape[2]):
                step = decoder.logits(t, d)
                torch.testing.assert_close(step, full[d][:, t], rtol=1e-5, atol=1e-5)
                decoder.push(t, d, sequence[:, t, d])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_code_depends_on_those_before_it_and_on_no_other(make_generator: Make, variant: str) -> None:
    model = make_generator("ar", **VARIANTS[variant])
    codes = random_codes(model, 1)
    height, width, depth = model.shape
    before = model.logits(codes) if not model.config.num_classes else model.logits(codes, torch.tensor([0]))
    for t, d in ((0, 0), (height * width // 2, depth - 1), (height * width - 1, 0)):
        changed = codes.clone()
        changed[0, t // width, t % width, d] = (changed[0, t // width, t % width, d] + 1) % model.vocabulary[d]
        after = model.logits(changed) if not model.config.num_classes else model.logits(changed, torch.tensor([0]))
        moved = {
            (u, e): not torch.equal(before[e][0, u], after[e][0, u])
            for u in range(height * width)
            for e in range(depth)
        }
        assert not any(hit for place, hit in moved.items() if place <= (t, d))
        later = [place for place in moved if place > (t, d)]
        if later and model.config.generator.depth_context == "sum":
            assert all(moved[place] for place in later)


@pytest.mark.parametrize(("shape", "vocabulary"), [((1, 2, 2), (2, 3)), ((1, 3, 1), (3,))])
def test_probabilities_of_all_stacks_sum_to_one(
    make_generator: Make, shape: tuple[int, int, int], vocabulary: tuple[int, ...]
) -> None:
    model = make_generator("ar", shape=shape, vocabulary=vocabulary)
    choices = [range(vocabulary[d]) for _ in range(shape[1]) for d in range(shape[2])]
    stacks = torch.tensor(list(itertools.product(*choices))).view(-1, *shape)
    assert float((-model.nll(stacks)).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_the_loss_is_the_mean_nll_of_a_code(make_generator: Make) -> None:
    model = make_generator("ar")
    codes = random_codes(model)
    assert model.loss(codes).item() == pytest.approx(float(model.nll(codes).mean()) / model.codes_per_image, rel=1e-5)


def test_hard_soft_targets_give_the_hard_loss(make_generator: Make) -> None:
    model = make_generator("ar", vocabulary=(5, 7))
    codes = random_codes(model)
    targets = [torch.nn.functional.one_hot(codes[..., d].flatten(1), k).float() for d, k in enumerate((5, 7))]
    torch.testing.assert_close(model.loss(codes, targets=targets), model.loss(codes))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(make_generator: Make, variant: str) -> None:
    """DDP waits for the gradient of every parameter."""
    model = make_generator("ar", **VARIANTS[variant]).train()
    labels = torch.arange(3) if model.config.num_classes else None
    model.loss(random_codes(model), labels).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_checkpointing_changes_no_gradient(make_generator: Make) -> None:
    model = make_generator("ar").train()
    codes, found = random_codes(model), []
    for on in (False, True):
        model.checkpoint_activations(on)
        model.zero_grad()
        model.loss(codes).backward()
        found.append(model.body.blocks[0].attention.qkv.weight.grad.clone())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_the_parameters_of_the_paper(size: str) -> None:
    """By name; the released ImageNet models have a vocabulary of 16384 and vectors of 256 channels."""
    with torch.device("meta"):
        config = GeneratorConfig(
            generator=ARConfig(size=size, class_conditional=True),
            shape=(8, 8, 4),
            vocabulary=(2048 if size == "rq-355m" else 16384,) * 4,
            num_classes=1000,
            code_channels=256,
            shared_codes=True,
        )
        count = sum(p.numel() for p in build(config).parameters())
    number, unit = float(size[3:-1]), size[-1]
    assert count / (1e9 if unit == "b" else 1e6) == pytest.approx(number, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth_layers": 0}, "depth_layers is 0"),
        ({"vocabulary": (5, 7), "share_head": True}, "share_head needs equal"),
        ({"input": "bits", "vocabulary": (8, 9)}, "powers of two; 9"),
        ({"heads": 5}, "width 24 is not a multiple"),
        ({"positions": "rotary", "heads": 4}, "multiple of 4 channels"),
        ({"size": "rq-355m"}, "size rq-355m has width 1024, not 24"),
    ],
)
def test_impossible_settings_say_what_is_wrong(make_generator: Make, settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_generator("ar", **settings)


def test_codes_of_another_vocabulary_are_refused(make_generator: Make) -> None:
    model = make_generator("ar")
    codes = random_codes(model)
    codes[1, 0, 0, 1] = 7
    with pytest.raises(TokbenchError, match="code 7 at depth 2 is outside the generator's vocabulary of 7"):
        model.nll(codes)
    with pytest.raises(TokbenchError, match="codes must be int64"):
        model.loss(codes[:, :2])
    assert math.isfinite(float(model.nll(random_codes(model)).sum()))


def test_steps_under_autocast_keep_the_residual_stream_in_full_precision() -> None:
    """As the whole stack does: a training run in bf16 draws its pictures so."""
    torch.manual_seed(0)
    stack, x = Transformer(32, 4, 2).eval(), torch.randn(2, 3, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        steps = Steps(stack, 2, 3)
        assert torch.stack([steps(x[:, t], t) for t in range(3)], 1).dtype == stack(x).dtype == torch.float32


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_steps_of_few_rows_are_as_the_stack_at_once(rows: int, turned: bool) -> None:
    """In fp32 by other products, also where every other step says what is shown."""
    torch.manual_seed(0)
    stack, x, shown = Transformer(32, 4, 2).eval(), 9 * torch.randn(rows, 5, 32), torch.ones(rows, 5, dtype=torch.bool)
    rotation = axial_rotation((2, 2), 8) if turned else None
    with torch.no_grad():
        steps = Steps(stack, rows, 5)
        assert bool(steps.few) == (rows < 40)
        found = [steps(x[:, t], t, rotation, shown if t % 2 else None) for t in range(5)]
        torch.testing.assert_close(torch.stack(found, 1), stack(x, rotation), rtol=1e-5, atol=1e-5)


def test_steps_in_fp64_round_as_they_did() -> None:
    """Files are coded so: no product of theirs may change by a bit."""
    torch.manual_seed(0)
    stack, x = Transformer(32, 4, 2).double().eval(), torch.randn(2, 32, dtype=torch.float64)
    with torch.no_grad():
        y = x
        for block in stack.blocks:
            value = block.attention.qkv(block.norm1(y))[:, 64:]
            y = block.attention.out(value) + y
            y = block.mlp(block.norm2(y)) + y
        assert torch.equal(Steps(stack, 2, 3)(x, 0), y)


@pytest.mark.parametrize("batch, length", [(12, 1), (12, 3), (8, 4), (7, 4), (5, 16), (4, 17)])
@pytest.mark.parametrize("attention", [0.0, 0.5])
def test_many_short_sequences_are_as_each_alone(batch: int, length: int, attention: float) -> None:
    """Outputs, gradients, and what dropout draws."""
    torch.manual_seed(0)
    stack, x = Transformer(16, 2, 2, Dropouts(0.3, attention)), torch.randn(batch, length, 16, requires_grad=True)
    found = []
    for way in (stack, stack.many):
        torch.manual_seed(1)
        y = way(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *stack.parameters()])))
    for wanted, given in zip(*found, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["rq", "gpt", "code vectors"])
def test_the_loss_is_the_cross_entropy_of_the_logits(make_generator: Make, variant: str) -> None:
    """And so are its gradients, scaled as a loss in micro-batches is; in bf16 as well."""
    model = make_generator("ar", **VARIANTS[variant])
    codes, of = random_codes(model), list(model.parameters())
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss, logits = model.loss(codes), torch.stack(model.logits(codes), dim=-2)
            wanted = torch.nn.functional.cross_entropy(logits.flatten(0, -2), codes.flatten())
        assert loss.dtype == wanted.dtype == torch.float32
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
        found = [torch.autograd.grad(way / 3, of, allow_unused=True) for way in (loss, wanted)]
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-2 if low else 1e-7)
