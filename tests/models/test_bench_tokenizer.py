from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from small_tokenizers import make

from tokbench.bench import tokenizer as tokenizer_bench
from tokbench.bench.tokenizer import PARTS, StepOptions, bench_tokenizer
from tokbench.cli.bench_tokenizer import bench_tokenizer as command
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError


def test_rows_and_ratios() -> None:
    config = make("vqgan").config
    lean = StepOptions("bf16", channels_last=True, activation_checkpointing=True)
    result = bench_tokenizer(config, [StepOptions(), lean], batch_size=2, repeats=2, warmup=0)
    first, second = result["rows"]
    assert (first["variant"], second["variant"]) == ("fp32 eager", "bf16 channels-last eager activation checkpointing")
    for part in PARTS:
        assert first["speedup"][part] == 1.0
        assert first["images_per_second"][part] == pytest.approx(2 / first["seconds"][part])
        assert second["speedup"][part] == pytest.approx(first["seconds"][part] / second["seconds"][part])
    assert result["parameters"] == sum(p.numel() for p in make("vqgan").parameters())
    assert result["environment"]["torch"] and "CPU" in result["device"]
    assert set(result["git"]) == {"revision", "dirty"} and result["created"].endswith("+00:00")


def test_nothing_to_time() -> None:
    with pytest.raises(TokbenchError, match="repeats 0"):
        bench_tokenizer(make("vqgan").config, [StepOptions()], repeats=0)


def test_command_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("vqgan").save_pretrained(tmp_path / "t")
    out = tmp_path / "bench.json"
    result = command(str(tmp_path / "t"), batch_size=1, repeats=1, channels_last=True, out=out, cpu=True)
    printed = capsys.readouterr().out
    assert "train step" in printed and "channels-last" in printed
    assert [row["variant"] for row in result["rows"]] == ["fp32 eager", "fp32 channels-last eager"]
    assert json.loads(out.read_text())["rows"][0]["variant"] == "fp32 eager"
    with pytest.raises(TokbenchError, match="--set goes with a recipe"):
        command(str(tmp_path / "t"), overrides=["model.channels=8"])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's account of a process's memory")
def test_peak_memory_of_a_step_beside_o2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the step keeps for its backward pass is in it, and ours takes no more than the layers as O2 has them."""

    def here(function: str, *arguments: str, what: str) -> float:
        """In this process: a new one takes seconds to import everything."""
        assert function == "tokbench.bench.tokenizer:resident_growth" and what
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            tokenizer_bench.resident_growth(*arguments)
        return float(printed.getvalue())

    monkeypatch.setattr(tokenizer_bench, "in_own_process", here)
    config = TokenizerConfig.model_validate(
        {
            "image_size": [9, 32, 32],
            "model": {
                "architecture": "magvit2-video", "channels": 32, "multipliers": [1, 1], "blocks": 2,
                "halve_frames": [True],
            },
            "quantizer": {"name": "lfq", "codebook_size": 64},
        }
    )  # fmt: skip
    result = bench_tokenizer(config, [StepOptions()], beside="o2", batch_size=1, repeats=1, warmup=0, memory=True)
    ours, theirs = (row["peak_mib"] for row in result["rows"])
    activations = 8 * 2 * 9 * 32 * 32 * 32 * 4 / 2**20  # residual blocks, convolutions in each, floats
    assert set(ours) == {"train step"} and activations / 2 < ours["train step"] <= theirs["train step"]
