"""Speed, FLOPs, memory, trackers and the profiler: what a run says about itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from quantizers.functional import nearest
from quantizers.functional.nearest import most_aligned_code, nearest_code
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.training import tracking
from tokbench.training.flops import StepFlops
from tokbench.training.loop import make_accelerator, train
from tokbench.training.peak_flops import peak_flops
from tokbench.training.telemetry import Telemetry

Tiny = Callable[..., TokenizerRecipe]


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("recomputed", [False, True])
def test_flops_are_those_of_the_formulas_and_recomputation_is_not_counted(recomputed: bool) -> None:
    first, second = nn.Linear(6, 10), nn.Linear(10, 4)
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    images, x = torch.randn(2, 3, 8, 8), torch.randn(7, 6, requires_grad=True)

    def network(x: torch.Tensor) -> torch.Tensor:
        return second(F.gelu(first(x)))

    with StepFlops(recomputes=True) as counter:
        y = checkpoint(network, x, use_reentrant=False) if recomputed else network(x)
        (y.sum() + convolution(images).sum()).backward()
    linear = 2 * 7 * (6 * 10 + 10 * 4)
    convolved = 2 * (2 * 5 * 8 * 8) * 3 * 3 * 3  # its images need no gradient: two passes, not three
    assert counter.total == 3 * linear + 2 * convolved


@pytest.mark.parametrize("search", [nearest_code, most_aligned_code])
def test_a_search_costs_the_same_flops_by_either_product(
    search: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of the two a process takes is decided by what it measures, and a record's FLOPs are the model's."""
    z, codebook, found = torch.randn(70, 16), torch.randn(32, 16), []
    for by_onednn in [True, False] if nearest._HAS_ONEDNN else [False]:
        monkeypatch.setattr(nearest, "_onednn_is_faster", lambda by_onednn=by_onednn: by_onednn)
        with StepFlops() as counter:
            search(z, codebook)
        found.append(counter.total)
    assert set(found) == {2 * 70 * 32 * (16 + 1)}  # the bias as one more channel


def test_counting_does_not_change_a_step(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    recipe = tiny("training.steps=3", "training.warmup_steps=0", "training.log_every=1")
    train(recipe, tmp_path / "counted", quiet=True)
    monkeypatch.setattr(Telemetry, "counting", lambda self: torch.enable_grad())
    train(recipe, tmp_path / "plain", quiet=True)
    one, two = (load_file(tmp_path / run / "tokenizer" / "model.safetensors") for run in ("counted", "plain"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert json.loads((tmp_path / "counted" / "training.json").read_text())["speed"]["flops_per_step"] > 1e6


def test_a_run_logs_its_speed_and_sums_it_up_over_a_resume(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny("training.log_every=3")
    train(recipe, tmp_path, stop_at=6, quiet=True)
    result = train(recipe, tmp_path, resume=True, quiet=True)
    logged = lines(tmp_path)
    assert len(logged) == 4
    for line in logged:
        assert line["images_per_second"] == pytest.approx(8 * line["steps_per_second"])
        assert 0 <= line["waiting_for_data"] < 1 and line["peak_memory_bytes"] > 2**26
        assert "mfu" not in line  # the peak of a CPU is not known
    speed = json.loads((tmp_path / "training.json").read_text())["speed"]
    assert speed == result.speed
    assert speed["steps_timed"] == 10  # of 12: the first of each process warms up
    assert speed["mfu"] is None and speed["device"].startswith("CPU") and speed["precision"] == "fp32"
    assert speed["flops_per_second"] == pytest.approx(speed["flops_per_step"] * speed["steps_per_second"])
    assert speed["peak_memory_bytes"] >= logged[-1]["peak_memory_bytes"]
    assert speed["flops"] == 12 * speed["flops_per_step"]  # those that warm up cost as much


def test_flops_are_counted_anew_when_the_discriminator_joins(tiny: Tiny, tmp_path: Path) -> None:
    gan = "loss.adversarial={start: 4, discriminator: {name: patchgan, channels: 8, layers: 2}}"
    settings = ["training.log_every=1", "training.checkpoint_every=0", "training.picture_every=0"]
    result = train(tiny(gan, *settings), tmp_path / "gan", quiet=True)
    counted = []
    whole, enter = StepFlops.__enter__, lambda self: (counted.append(1), whole(self))[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepFlops, "__enter__", enter)
        train(tiny(gan, *settings), tmp_path / "parts", stop_at=6, quiet=True)  # just before it is counted again
        parts = train(tiny(gan, *settings), tmp_path / "parts", resume=True, quiet=True)
    assert len(counted) == 2 and parts.speed["flops_per_step"] == result.speed["flops_per_step"]
    alone = train(tiny(*settings), tmp_path / "alone", quiet=True)
    assert result.speed["flops_per_step"] > 1.05 * alone.speed["flops_per_step"]


def test_utilisation_is_the_share_of_the_peak_where_that_is_known(tiny: Tiny) -> None:
    recipe = tiny()
    telemetry = Telemetry(make_accelerator(recipe, cpu=True), recipe.training)
    telemetry.flops, telemetry._count, telemetry._warm_up = 500, False, 0

    def step() -> dict[str, float]:
        telemetry.begin()
        telemetry.fetched()
        telemetry.done({"loss": 1.0})
        return telemetry.window()

    without = telemetry.shown(step())
    assert "step/s" in without and "MFU" not in without
    telemetry.peak = 1e9
    figures = step()
    assert figures["mfu"] == pytest.approx(figures["flops_per_second"] / 1e9)
    assert telemetry.shown(figures)["MFU"] == f"{figures['mfu']:.1%}"
    assert telemetry.shown(telemetry.window()) == {}  # no step since


@pytest.mark.parametrize(
    ("device", "precision", "tf32", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", False, 989.5e12),
        ("NVIDIA H100 PCIe", "bf16", False, 756e12),
        ("NVIDIA H200", "fp32", True, 494.7e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", False, 19.5e12),
        ("NVIDIA L40S", "fp16", False, 362e12),
        ("Tesla V100-SXM2-32GB", "fp16", False, 125e12),
        ("Tesla V100-SXM2-32GB", "bf16", False, None),
        ("Some GPU of tomorrow", "bf16", False, None),
        ("NVIDIA RTX A1000", "bf16", False, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", False, None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", False, None),
    ],
)
def test_peaks_by_name(device: str, precision: str, tf32: bool, peak: float | None) -> None:
    assert peak_flops(device, precision, tf32) == peak


def test_tensorboard_gets_what_the_log_gets(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = tiny("training.trackers=[tensorboard]", "training.log_every=3")
    train(recipe, tmp_path, stop_at=9, quiet=True)
    train(recipe, tmp_path, resume=True, quiet=True)
    events = EventAccumulator(str(tmp_path / tracking.FOLDER / "tokbench")).Reload()
    sent = {event.step: event.value for event in events.Scalars("loss")}
    assert sent == pytest.approx({line["step"]: line["loss"] for line in lines(tmp_path)})
    assert list(sent) == [3, 6, 9, 12]
    assert {"images_per_second", "peak_memory_bytes", "gradient_norm"} <= set(events.Tags()["scalars"])


def test_trackers_do_not_change_what_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from safetensors.torch import load_file

    train(tiny("training.steps=4"), tmp_path / "a", quiet=True)
    train(tiny("training.steps=4", "training.trackers=[tensorboard]"), tmp_path / "b", quiet=True)
    one, two = (load_file(tmp_path / run / "tokenizer" / "model.safetensors") for run in ("a", "b"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(TokbenchError, match=r"wandb is not installed: pip install 'tokbench\[trackers\]'"):
        train(tiny("training.trackers=[wandb]"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(TokbenchError, match="'tensorboard' or 'wandb'"):
        tiny("training.trackers=[tensorbord]")


def test_profile_writes_a_trace_and_training_goes_on(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(tiny("training.steps=9"), tmp_path, profile=True)
    assert result.finished and result.steps == 9
    (trace,) = (tmp_path / "profile").iterdir()
    assert trace.name == "step-00000008.json"  # five to warm up, three recorded
    names = {event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "aten::convolution_backward" in names and "Optimizer.step#AdamW.step" in names
    shown = capsys.readouterr().err
    assert "CPU ms" in shown and "aten::" in shown and "step-00000008.json" in shown.replace("\n", "")
