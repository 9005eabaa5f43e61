"""Learning rate over steps."""

from __future__ import annotations

import math

from tokbench.config.training import TrainingConfig


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """The fraction of the peak learning rate at optimizer step ``step`` (counted from 0), in (0, 1].

    Linear warm-up over ``warmup_steps``, then the schedule down to ``final_learning_rate`` at the last step.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    done = min(1.0, (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps))
    remaining = 1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.final_learning_rate + (1.0 - config.final_learning_rate) * remaining
