"""Learning rate and averaging."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench.config.training import TrainingConfig
from tokbench.training.ema import averaged
from tokbench.training.schedule import learning_rate_factor


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(2, 500),
    warmup=st.floats(0, 0.9),
    schedule=st.sampled_from(["constant", "cosine", "linear"]),
    final=st.floats(0, 1),
)
def test_rises_then_never_rises_again(steps: int, warmup: float, schedule: str, final: float) -> None:
    config = TrainingConfig(
        steps=steps, warmup_steps=int(warmup * (steps - 1)), schedule=schedule, final_learning_rate=final
    )
    factors = [learning_rate_factor(step, config) for step in range(steps)]
    top = config.warmup_steps
    assert factors[:top] == sorted(factors[:top])
    assert all(a >= b - 1e-12 for a, b in zip(factors[top:], factors[top + 1 :], strict=False))
    assert factors[top] == pytest.approx(1.0)
    assert 0 < factors[0] <= 1 and all(0 <= f <= 1 + 1e-12 for f in factors)
    if schedule != "constant" and steps - top > 1:
        assert factors[-1] == pytest.approx(final, abs=1e-9)


def test_average_follows_by_the_stated_rule() -> None:
    model = torch.nn.Linear(3, 2)
    average = averaged(model, decay=0.9)
    expected = None
    for n in range(40):
        with torch.no_grad():
            model.weight.normal_()
        average.update_parameters(model)
        live = model.weight.detach().clone()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = live if expected is None else expected * decay + live * (1 - decay)
    assert torch.allclose(average.module.weight, expected, atol=1e-6)
    assert not average.module.weight.requires_grad
