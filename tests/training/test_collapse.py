"""Codebook collapse: seen in the windows of usage, told once, with settings that exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import quantizers
from quantizers.usage import Usage
from tokbench.config.model import QuantizerConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.training import loop, reporting
from tokbench.training.collapse import WINDOWS, CollapseWatch, cures, least_used, usage_of_window
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]


def window(share: float) -> dict[str, float]:
    return {"usage": share, "usage_of_reachable": share, "perplexity": 3.5}


def test_one_warning_until_it_recovers() -> None:
    watch = CollapseWatch(QuantizerConfig(name="vq"))
    shares = [0.01] * (WINDOWS + 4) + [0.5] + [0.02] * (WINDOWS + 1)
    told = [watch.look(100 * i, window(share)) for i, share in enumerate(shares)]
    assert [i for i, text in enumerate(told) if text] == [WINDOWS - 1, len(shares) - 2]
    text = told[WINDOWS - 1]
    assert text is not None
    for part in (f"step {100 * (WINDOWS - 1)}", "1.00%", "perplexity 3.5", *cures(watch.quantizer)):
        assert part in text
    assert watch.look(1, {"loss": 1.0}) is None


def test_a_resumed_run_does_not_warn_again() -> None:
    first, second = CollapseWatch(QuantizerConfig(name="vq")), CollapseWatch(QuantizerConfig(name="vq"))
    assert [bool(first.look(i, window(0.0))) for i in range(WINDOWS)][-1]
    second.load_state_dict(first.state_dict())
    assert second.look(9, window(0.0)) is None


@pytest.mark.parametrize("name", quantizers.names())
def test_there_are_three_cures_and_they_are_options_of_the_quantizer(name: str) -> None:
    found = cures(QuantizerConfig(name=name))
    assert len(set(found)) == 3
    for text in found:
        key, equals, _ = text.partition("=")
        if equals:
            known = {**quantizers.options(name), **(quantizers.options("vq") if name == "ms-rq" else {})}
            assert key.removeprefix("quantizer.") in known, text


def test_a_cure_that_is_in_effect_is_not_named() -> None:
    assert "quantizer.l2_norm=true" in cures(QuantizerConfig(name="vq"))
    assert not any("l2_norm" in text for text in cures(QuantizerConfig(name="vq", l2_norm=True)))
    gradient = cures(QuantizerConfig(name="vq", codebook_update="gradient"))
    assert gradient[:2] == ["quantizer.codebook_update=ema", "quantizer.restart_threshold=1.0"]
    scales = cures(QuantizerConfig.model_validate({"name": "ms-rq", "quantizer": "fsq", "levels": [5, 5]}))
    assert len(scales) == 3 and not any("fsq" in text for text in scales)


def test_a_short_window_is_measured_by_what_it_could_show() -> None:
    usage = Usage([4096])
    usage.update(torch.randint(4096, (500, 1), generator=torch.Generator().manual_seed(0)))
    found = usage_of_window(usage)
    assert found["usage"] < 0.13 and 0.9 < found["usage_of_reachable"] < 1.1
    usage.reset()
    usage.update(torch.zeros(500, 1, dtype=torch.int64))
    found = usage_of_window(usage)
    assert found["usage_of_reachable"] < 0.01 and found["perplexity"] == pytest.approx(1.0)


def test_a_scale_whose_codes_collapse_is_named() -> None:
    """One code at 1x1 and all of them at 4x4: the whole histogram shows nothing of it."""
    usage = Usage([16])
    usage.split((1, 17))
    coarse = torch.zeros(50, 1, 1, dtype=torch.int64)
    usage.update(torch.cat([coarse, torch.randint(16, (50, 16, 1))], dim=1))
    found = usage_of_window(usage, ["1x1", "4x4"])
    assert found["usage"] == found["usage_4x4"] == 1 and found["usage_1x1"] == 1 / 16
    assert least_used(found) == ("1x1", found["usage_of_reachable_1x1"])
    watch = CollapseWatch(QuantizerConfig(name="ms-rq", codebook_size=16))
    told = [watch.look(i, found) for i in range(WINDOWS)][-1]
    assert told is not None and "the codes at 1x1 collapse: 6.25% of the codes in use, perplexity 1.0" in told


def test_a_run_whose_codes_die_says_so_while_it_trains(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporting, "WINDOW", 2)
    # One code near the latents and 63 far away: only the near one is ever chosen.
    dead = ["quantizer.name=vq", "quantizer.codebook_size=64", "quantizer.restart_threshold=0"]
    original = loop.build_task

    def build(*arguments: object) -> object:
        task = original(*arguments)  # type: ignore[arg-type]
        book = task.tokenizer.quantizer.codes  # type: ignore[attr-defined]
        book.load(torch.cat([torch.zeros(1, 8), torch.full((63, 8), 1e3)]))
        return task

    monkeypatch.setattr(loop, "build_task", build)
    train(tiny(*dead, "training.log_every=2"), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (event,) = [line for line in lines if line.get("event") == "codebook_collapse"]
    assert event["step"] == 2 * WINDOWS and "1.56%" in event["message"]
    assert capsys.readouterr().err.count("the codebook collapses") == 1
