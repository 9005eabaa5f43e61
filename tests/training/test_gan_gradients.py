"""The GAN step's gradients against taming's way of writing them, split over micro-batches, processes and layouts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from accelerate import Accelerator

from tokbench.config.recipe import TokenizerRecipe
from tokbench.training.adversary import AdversarialBackward
from tokbench.training.tokenizer_task import TokenizerTask

Tiny = Callable[..., TokenizerRecipe]

# Nothing random and nothing that depends on how a batch is split: no restarts, no batch statistics, no augmentation.
STEADY = (
    "quantizer.name=vq",
    "quantizer.codebook_size=16",
    "quantizer.codebook_update=gradient",
    "loss.l1=1.0",
    "training.ema_decay=0.9",
    "training.learning_rate=1e-4",
    "loss.adversarial={weight: 0.8, discriminator: {name: patchgan, channels: 16, layers: 2, norm: group}}",
)


def task_of(recipe: TokenizerRecipe) -> TokenizerTask:
    torch.manual_seed(0)
    return TokenizerTask(recipe, Accelerator(cpu=True))


def pictures(count: int = 8) -> dict:
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(5))
    return {"image": images.to(torch.uint8), "label": torch.zeros(count), "id": [""] * count}


def halves(batch: dict) -> list[dict]:
    half = len(batch["id"]) // 2
    return [{k: v[:half] for k, v in batch.items()}, {k: v[half:] for k, v in batch.items()}]


def assert_same_step(one: TokenizerTask, two: TokenizerTask, tolerance: float = 1e-6) -> None:
    """The gradients that the last step used. Not the weights: Adam makes a step of any gradient, rounding included."""
    for a, b in ((one.tokenizer, two.tokenizer), (one.adversary.bare, two.adversary.bare)):
        for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, atol=tolerance, rtol=1e-3), name


@pytest.mark.parametrize("weighting", ["adaptive", "fixed"])
def test_gradients_are_those_of_the_written_out_loss(tiny: Tiny, weighting: str) -> None:
    task = task_of(tiny(*STEADY, f"loss.adversarial.weighting={weighting}"))
    adversary, last = task.adversary, task.tokenizer.last_layer
    assert adversary is not None
    images = task._images(pictures())
    reconstruction, quantizer, _ = task.objective(images)
    nll, _ = task.reconstruction_loss(reconstruction, images)
    term = -adversary.bare.network(reconstruction).mean()
    weight = torch.tensor(1.0)
    if weighting == "adaptive":
        by_nll = torch.autograd.grad(nll, last, retain_graph=True)[0].norm()
        weight = by_nll / (torch.autograd.grad(term, last, retain_graph=True)[0].norm() + 1e-4)
        assert abs(weight - 1) > 0.1  # or the test could not tell the two weightings apart
    written_out = nll + quantizer + 0.8 * 0.5 * weight.detach() * term
    expected = torch.autograd.grad(written_out, task.trained)

    reconstruction, quantizer, _ = task.objective(images)
    nll, _ = task.reconstruction_loss(reconstruction, images)
    mixed = AdversarialBackward(adversary, task.trained, last, 1, 0.5)
    mixed(reconstruction, nll, quantizer)
    values = mixed.finish()
    assert values["lambda"].item() == pytest.approx(weight.item(), rel=1e-5)
    assert values["adversarial"].item() == pytest.approx((0.4 * weight * term).item(), rel=1e-5)
    for parameter, gradient in zip(task.trained, expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6, rtol=1e-4)
    assert all(p.grad is None for p in adversary.bare.parameters())  # the discriminator learns nothing from it


@pytest.mark.parametrize("weighting", ["adaptive", "fixed"])
def test_micro_batches_equal_the_joined_batch(tiny: Tiny, weighting: str) -> None:
    settings = (*STEADY, f"loss.adversarial.weighting={weighting}", "loss.adversarial.lecam=0.1")
    whole, parts = task_of(tiny(*settings)), task_of(tiny(*settings, "training.gradient_accumulation=2"))
    for step in range(3):
        if step:
            parts.load_state_dict(whole.state_dict())
        one, two = whole.step([pictures()], step, 1.0), parts.step(halves(pictures()), step, 1.0)
        assert set(one) == set(two)
        for name in one:
            assert two[name].item() == pytest.approx(one[name].item(), rel=1e-3, abs=1e-5), name
        assert_same_step(whole, parts)


@pytest.mark.parametrize(
    "switch", ["training.activation_checkpointing=true", "training.channels_last=true", "both and accumulation"]
)
def test_switches_change_the_cost_and_not_the_result(tiny: Tiny, switch: str) -> None:
    if switch.startswith("both"):
        on = ["training.activation_checkpointing=true", "training.channels_last=true"]
        on.append("training.gradient_accumulation=2")
    else:
        on = [switch]
    plain, switched = task_of(tiny(*STEADY)), task_of(tiny(*STEADY, *on))
    batch = halves(pictures()) if len(on) > 1 else [pictures()]
    plain.step([pictures()], 0, 1.0)
    switched.step(batch, 0, 1.0)
    if "training.channels_last=true" in on:
        kernel = next(p for p in switched.tokenizer.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1)
        assert kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    if "training.activation_checkpointing=true" in on:
        assert any(getattr(m, "checkpointing", False) for m in switched.tokenizer.modules())
    assert_same_step(plain, switched)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_compiled_step_equals_the_eager_one(tiny: Tiny, accumulation: int) -> None:
    settings = (*STEADY, f"training.gradient_accumulation={accumulation}", "loss.adversarial.r1=0.1")
    eager, compiled = task_of(tiny(*settings)), task_of(tiny(*settings, "training.compile=true"))
    batches = [pictures()] if accumulation == 1 else halves(pictures())
    for step in range(2):
        if step:
            compiled.load_state_dict(eager.state_dict())
        eager.step(batches, step, 1.0)
        compiled.step(batches, step, 1.0)
        assert_same_step(eager, compiled, 1e-5)
