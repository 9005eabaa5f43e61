"""Settings that make any recipe small enough to train in a second. Checkpoints on the way, each of which takes as long
as two steps, are asked for by the tests that look at them."""

from __future__ import annotations

TINY = [
    "data.image_size=16",
    "data.limit=64",
    "data.eval_limit=8",
    "model.channels=8",
    "model.multipliers=[1,2]",
    "model.latent_channels=8",
    "training.batch_size=8",
    "training.steps=12",
    "training.warmup_steps=2",
    "training.picture_every=12",
    "training.checkpoint_every=0",
]
