"""A tokenizer of clips trains on clips and images together, and goes on to the bit where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import open_images
from tokbench.metrics import evaluate_tokenizer
from tokbench.models import Tokenizer
from tokbench.training.loop import train

pytest.importorskip("av")

CLIPS = [
    "data.source=clips", "data.image_size=[5,16,16]", "data.images=photos", "data.images_share=0.5", "data.limit=24",
    "data.eval_limit=2", "model={architecture: magvit2-video, channels: 8, multipliers: [1, 2], blocks: 1, "
    "halve_frames: [true]}", "quantizer.codebook_size=16", "training.batch_size=2", "training.steps=4",
    "training.warmup_steps=1", "training.checkpoint_every=2", "training.picture_every=0",
]  # fmt: skip


def test_training_on_both_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recipe = load_recipe("base", CLIPS)
    assert isinstance(recipe, TokenizerRecipe)
    train(recipe, tmp_path / "whole", quiet=True)
    train(recipe, tmp_path / "parts", stop_at=2, quiet=True)
    train(recipe, tmp_path / "parts", resume=True, quiet=True)
    whole, parts = (Tokenizer.from_pretrained(tmp_path / run / "tokenizer") for run in ("whole", "parts"))
    weights = parts.state_dict()
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    clips = open_images("clips", "eval", image_size=(5, 16, 16), limit=2)
    result = evaluate_tokenizer(whole, clips, metrics=["psnr"], protocol="tokbench-v1")
    assert (result.data.protocol, result.data.n, result.data.size) == ("tokbench-v1-all", 2, (5, 16, 16))
