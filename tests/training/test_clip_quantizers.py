"""Every quantizer trains a tokenizer of clips, against the discriminator of whole clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import quantizers
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.training.loop import train

pytest.importorskip("av")

GAN = (
    "{discriminator: {name: magvit, channels: 4, multipliers: [1, 2]}, loss: non-saturating, weighting: fixed, "
    "r1: 10, lecam: 0.01}"
)
CLIPS = [
    "data.source=clips",
    "data.image_size=[5,16,16]",
    "data.limit=8",
    "data.eval_limit=2",
    "training.batch_size=2",
    "model={architecture: magvit2-video, channels: 8, multipliers: [1, 2], blocks: 1, halve_frames: [true]}",
    "training.steps=2",
    "training.warmup_steps=0",
    "training.log_every=1",
    f"loss.adversarial={GAN}",
]


def clips_recipe(*more: str) -> TokenizerRecipe:
    recipe = load_recipe("base", [*CLIPS, *more])
    assert isinstance(recipe, TokenizerRecipe)
    return recipe


def settings_of(name: str) -> dict[str, Any]:
    """Of some 8 bits a position, or its first example where it has no settings by bits."""
    try:
        return quantizers.configurations(name, bits=8)[0]
    except ValueError:
        return {key: value for key, value in quantizers.get(name).examples()[0].items() if key != "dim"}


# Codes by average, by gradient, of bits, and of several quantizers within one; the others are slow.
FEW = ("vq", "fsq", "lfq", "grouped")
EVERY = [
    pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
    for name in quantizers.names()
    if name != "ms-rq"  # of maps alone
]


@pytest.mark.parametrize("name", EVERY)
def test_every_quantizer_learns_from_clips_and_a_discriminator(name: str, tmp_path: Path) -> None:
    quantizer = json.dumps({"name": name, **settings_of(name)})
    more = ["model.code_channels=8"] if "quantizer" in settings_of(name) else []  # its parts share the channels
    run = train(clips_recipe(f"quantizer={quantizer}", *more), tmp_path / "run", quiet=True)
    steps = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "generator" in line] == [1, 2]
    assert list(run.folder.rglob("*.png"))
    tokenizer = Tokenizer.from_pretrained(run.product)
    codes = tokenizer.encode(torch.rand(1, 3, 5, 16, 16) * 2 - 1)
    assert codes.shape[:-1] == (1, 3, 8, 8)  # frame 0, and two of two
    assert tokenizer.decode(codes).shape == (1, 3, 5, 16, 16)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.image_size=[4,16,16]", "image_size"),
        ("data.image_size=[999,16,16]", "999"),
        ("data.image_size=16", "16x16"),
        ("model={architecture: vqgan}", "image_size"),
    ],
)
def test_a_size_of_another_kind_is_one_line(setting: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError) as error:
        train(clips_recipe(setting), tmp_path / "run", quiet=True)
    assert said in str(error.value) and "\n" not in str(error.value)
