"""The log around a stop: what was counted before it is in the lines after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quantizers import RQ
from quantizers.usage import Usage
from tokbench.config.recipe import TokenizerRecipe
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]
TIMES = {"seconds", "steps_per_second", "images_per_second", "waiting_for_data", "flops_per_second", "mfu",
         "peak_memory_bytes"}  # fmt: skip


def values(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line.get("event") != "threads"]  # what else the machine does is told too
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["training.log_every=5"], marks=pytest.mark.slow),
        ["training.log_every=100", "training.checkpoint_every=0"],
        pytest.param(
            ["training.log_every=4", "training.gradient_accumulation=2", "quantizer.name=lfq",
             "loss.adversarial={start: 6, discriminator: {name: patchgan, channels: 8, layers: 2}}"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["rq", "one-line", "gan-switched-on"],
)  # fmt: skip
def test_the_log_of_a_run_with_stops_is_that_of_an_undisturbed_one(
    tiny: Tiny, tmp_path: Path, settings: list[str]
) -> None:
    recipe = tiny(*settings)
    train(recipe, tmp_path / "whole", quiet=True)
    for stop in (2, 7, 8, 11):
        train(recipe, tmp_path / "parts", resume=stop > 2, stop_at=stop, quiet=True)
    train(recipe, tmp_path / "parts", resume=True, quiet=True)
    assert values(tmp_path / "whole") == values(tmp_path / "parts")
    last = [json.loads((tmp_path / run / "training.json").read_text())["last"] for run in ("whole", "parts")]
    assert last[0] == last[1] and last[0]["usage"] > 0


def test_a_checkpoint_of_before_goes_on_with_an_empty_window(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny("training.log_every=6")
    train(recipe, tmp_path, stop_at=3, quiet=True)
    state, _ = load_checkpoint(tmp_path / "checkpoints")
    assert state is not None
    del state["task"]["usage"], state["report"]["window"], state["report"]["last"]
    save_checkpoint(tmp_path / "checkpoints", 3, state, keep=1)
    assert train(recipe, tmp_path, resume=True, quiet=True).finished


def test_usage_goes_on_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (2**22, 8):  # dense, and sparse for the larger vocabulary
        monkeypatch.setattr("quantizers.usage.DENSE_LIMIT", limit)
        first, second = torch.randint(0, 8, (2, 50, 2))
        one, two = Usage([8, 16]), Usage([8, 16])
        one.update(first)
        two.load_state_dict(one.state_dict())
        for usage in (one, two):
            usage.update(second)
        assert (one.usage, one.perplexity, one.total) == (two.usage, two.perplexity, two.total) and two.total == 100
    q = RQ(dim=4, codebook_size=8, depth=2)
    q(torch.randn(2, 9, 4))
    again = RQ(dim=4, codebook_size=8, depth=2)
    again.usage.load_state_dict(q.usage.state_dict())
    assert again.usage.merge().usage == q.usage.usage
