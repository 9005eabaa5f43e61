"""MLM: what a mask hides, MaskGIT's schedule, in-painting."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tokbench.generators import MLM, Generator, Sampling
from tokbench.generators.mlm import mask_count
from tokbench.generators.noise import random_keys
from tokbench.generators.sampling import mask_fraction

Make = Callable[..., Generator]


@pytest.mark.parametrize("settings", [{}, {"input": "bits", "vocabulary": (8, 4)}, {"positions": "rotary"}])
def test_masked_codes_are_not_seen_and_the_others_are_from_both_sides(make_generator: Make, settings: dict) -> None:
    model = make_generator("mlm", **settings)
    assert isinstance(model, MLM)
    torch.manual_seed(0)
    codes = torch.randint(4, (1, 3, 4, 2))
    masked = torch.zeros(1, 12, dtype=torch.bool)
    masked[0, [3, 7]] = True
    before = model.logits(codes, masked)
    hidden = codes.clone()
    hidden[0, 0, 3] = (hidden[0, 0, 3] + 1) % 4
    for a, b in zip(before, model.logits(hidden, masked), strict=True):
        assert torch.equal(a, b)
    seen = codes.clone()
    seen[0, 2, 3, 1] = (seen[0, 2, 3, 1] + 1) % 4
    after = model.logits(seen, masked)
    assert not torch.equal(before[0][0, 3], after[0][0, 3])


def test_the_schedule_is_maskgits() -> None:
    """N = 256, T = 8: 251, 236, 212, 181, 142, 97, 49 and 1 masked (google-research/maskgit, parallel_decode.py)."""
    masked, found = torch.tensor([256]), []
    for step in range(8):
        masked = mask_count(torch.tensor([256]), masked, (step + 1) / 8, Sampling(steps=8))
        found.append(int(masked))
    assert found == [251, 236, 212, 181, 142, 97, 49, 1]


@pytest.mark.parametrize("schedule", ["cosine", "arccos", "linear"])
def test_schedules_fall_from_all_to_nothing(schedule: str) -> None:
    values = [mask_fraction(i / 20, schedule) for i in range(21)]
    assert values[0] == pytest.approx(1.0) and values[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in zip(values, values[1:], strict=False))


@pytest.mark.parametrize("schedule", ["cosine", "arccos", "linear"])
def test_training_masks_follow_the_schedule(make_generator: Make, schedule: str) -> None:
    model = make_generator("mlm", shape=(8, 8, 1), vocabulary=(7,), schedule=schedule)
    torch.manual_seed(0)
    counts = model.training_mask(random_keys(4000, model.device)).sum(-1)
    assert 1 <= int(counts.min()) and int(counts.max()) <= 64
    mean = {"cosine": 2 / math.pi, "arccos": 2 / math.pi, "linear": 0.5}[schedule]
    assert float(counts.float().mean()) / 64 == pytest.approx(mean, abs=0.02)


def test_the_loss_is_on_masked_positions_alone(make_generator: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_generator("mlm", label_smoothing=0.0)
    torch.manual_seed(0)
    codes = torch.randint(7, (2, 3, 4, 2))
    masked = torch.zeros(2, 12, dtype=torch.bool)
    masked[0, 2] = masked[1, 5] = masked[1, 6] = True
    monkeypatch.setattr(model, "training_mask", lambda keys: masked)
    parts = []
    for depth, logits in enumerate(model.logits(codes, masked)):
        p = logits.log_softmax(-1).gather(-1, codes[..., depth].flatten(1)[..., None])[..., 0]
        parts.append(-p[masked].mean())
    torch.testing.assert_close(model.loss(codes), torch.stack(parts).mean())


def test_the_bound_of_a_uniform_model_is_exact(make_generator: Make) -> None:
    model = make_generator("mlm", vocabulary=(5, 9))
    with torch.no_grad():
        for head in model.classifiers:
            head.weight.zero_()
            head.bias.zero_()
    codes = torch.zeros(2, 3, 4, 2, dtype=torch.int64)
    assert model.nll(codes).tolist() == pytest.approx([12 * math.log(45)] * 2)
    assert not model.exact_nll


@pytest.mark.parametrize("steps", [1, 2, 12, 40])
def test_every_number_of_steps_fills_everything_and_keeps_what_was_given(make_generator: Make, steps: int) -> None:
    model = make_generator("mlm")
    given = torch.randint(7, (1, 3, 4, 2), generator=torch.Generator().manual_seed(0))
    inside = torch.zeros(3, 4, dtype=torch.bool)
    inside[1, 1:3] = True
    for mask in (inside, ~inside, torch.ones(3, 4, dtype=torch.bool)):
        made = model.generate(3, seed=1, steps=steps, given=given, mask=mask)
        model.check_codes(made)
        assert (made[:, mask] == given[:, mask]).all()
