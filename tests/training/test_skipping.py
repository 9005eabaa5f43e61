"""Steps that are not finite: stopped at, or skipped as if they had not been."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.training.adversary import Adversary
from tokbench.training.finite import NotFinite, check_finite, step_together
from tokbench.training.loop import train
from tokbench.training.tokenizer_task import TokenizerTask

Tiny = Callable[..., TokenizerRecipe]
GAN = "loss.adversarial={start: 0, lecam: 0.1, discriminator: {name: patchgan, channels: 8, layers: 2}}"


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Tensors and numbers of a nested state, by path."""
    if isinstance(value, dict):
        return {k: v for key, inside in value.items() for k, v in flat(inside, f"{prefix}/{key}").items()}
    if isinstance(value, list):
        return flat(dict(enumerate(value)), prefix)
    return {prefix: value.clone() if isinstance(value, torch.Tensor) else value}


def same(one: Any, two: Any) -> bool:
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Spoil the steps (from 0) of ``bad``; what each bad step changed in the task's state is listed."""

    def prepare(bad: Collection[int], how: str) -> list[list[str]]:
        original, changed = TokenizerTask.step, []

        def spoiled(task: TokenizerTask) -> None:
            if how == "nothing else":
                return
            if how == "latents":
                images = task._images
                task._images = lambda batch: images(batch) * torch.nan  # type: ignore[method-assign]
                return
            nll = task._nll

            def broken(reconstruction: torch.Tensor, target: torch.Tensor) -> Any:
                if how == "gradient":
                    reconstruction.register_hook(lambda gradient: gradient * torch.inf)
                    return nll(reconstruction, target)
                value, distances = nll(reconstruction, target)
                return value * torch.inf, distances

            task._nll = broken

        def step(self: TokenizerTask, batches: Any, step: int, factor: float) -> Any:
            if step not in bad:
                return original(self, batches, step, factor)
            before, nll = flat(self.state_dict()), self._nll
            spoiled(self)
            try:
                return original(self, batches, step, factor)
            finally:
                self._nll = nll
                vars(self).pop("_images", None)
                after = flat(self.state_dict())
                changed.append([k for k in before.keys() | after.keys() if not same(before.get(k), after.get(k))])

        monkeypatch.setattr(TokenizerTask, "step", step)
        return changed

    return prepare


@pytest.mark.parametrize(
    ("how", "settings"),
    [
        ("loss", []),
        ("gradient", ["quantizer.name=vq", "quantizer.codebook_size=16", "quantizer.kmeans_init=true"]),
        pytest.param("latents", ["training.gradient_accumulation=2"], marks=pytest.mark.slow),
        ("latents", ["quantizer.name=lfq", "quantizer.codebook_size=16", GAN]),
    ],
)
def test_a_skipped_step_changes_nothing_and_is_counted(
    tiny: Tiny, tmp_path: Path, poison: Callable[..., list[list[str]]], how: str, settings: list[str]
) -> None:
    changed = poison({4, 7}, how)
    recipe = tiny("training.on_nan=skip", "training.log_every=2", *settings)
    result = train(recipe, tmp_path / "whole", quiet=True)
    # An optimizer's schedule is set before the step; nothing else moves.
    assert [[key for key in keys if not key.endswith("/lr")] for keys in changed] == [[], []]
    assert result.finished and result.skipped == 2
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    events = [line for line in lines if line.get("event") == "skipped"]
    assert [line["step"] for line in events] == [5, 8]
    assert "samples of the batch: " in events[0]["message"]
    assert [line["skipped"] for line in lines if line["step"] in (6, 12) and "loss" in line] == [1, 2]
    assert json.loads((tmp_path / "whole" / "training.json").read_text())["skipped_steps"] == 2
    if how == "gradient":
        return  # a resume does not ask why a step was skipped
    train(recipe, tmp_path / "parts", stop_at=6, quiet=True)
    resumed = train(recipe, tmp_path / "parts", resume=True, quiet=True)
    assert resumed.skipped == 2
    one, two = (load_file(tmp_path / run / "tokenizer" / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.isfinite(one[name]).all() and torch.equal(one[name], two[name]) for name in one)


def test_many_skipped_in_a_row_stop_the_run_and_resume_remembers_them(
    tiny: Tiny, tmp_path: Path, poison: Callable[..., list[list[str]]]
) -> None:
    poison(range(5, 12), "loss")
    recipe = tiny("training.on_nan=skip", "training.nan_limit=4")
    train(recipe, tmp_path, stop_at=7, quiet=True)
    with pytest.raises(TokbenchError, match=r"steps 6 to 9: 4 in a row .*loss inf"):
        train(recipe, tmp_path, resume=True, quiet=True)


def test_without_skipping_the_run_stops_and_may_go_on_with_it(
    tiny: Tiny, tmp_path: Path, poison: Callable[..., list[list[str]]]
) -> None:
    poison({6}, "gradient")
    with pytest.raises(TokbenchError, match=r"step 7: .*gradient_norm (inf|nan).*--on-nan skip; samples of the batch"):
        train(tiny(), tmp_path, quiet=True)
    assert train(tiny("training.on_nan=skip"), tmp_path, resume=True, quiet=True).skipped == 1


def spoiled_discriminator(monkeypatch: pytest.MonkeyPatch, bad: Collection[int]) -> None:
    original = Adversary.gradients

    def gradients(self: Adversary, real: Any, fake: Any, step: int, factor: float) -> Any:
        return original(self, [x * torch.nan for x in real] if step in bad else real, fake, step, factor)

    monkeypatch.setattr(Adversary, "gradients", gradients)


@pytest.mark.parametrize(
    "settings",
    [
        ["quantizer.name=rq", "training.ema_decay=0.9"],
        ["quantizer.name=vq", "quantizer.kmeans_init=true", "quantizer.restart_threshold=1"],
        pytest.param(
            ["quantizer.name=vq", "quantizer.codebook_update=gradient", "quantizer.kmeans_init=true"],
            marks=pytest.mark.slow,
        ),
        ["quantizer.name=vq", "quantizer.codebook_update=ema", "training.gradient_accumulation=2"],
        ["quantizer.name=lfq", "loss.adversarial.discriminator.norm=batch"],
    ],
)
def test_where_only_the_discriminator_is_not_finite_nothing_moves(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    poison: Callable[..., list[list[str]]],
    settings: list[str],
) -> None:
    """Neither half of the step: weights, averages, moments, codebooks, the discriminator's buffers, usage."""
    spoiled_discriminator(monkeypatch, {0, 3})  # k-means writes the codebook in the first step
    changed = poison({0, 3}, "nothing else")
    more = ["training.on_nan=skip", "training.steps=5"]
    result = train(tiny("quantizer.codebook_size=16", GAN, *settings, *more), tmp_path, quiet=True)
    assert result.finished and result.skipped == 2
    assert [[key for key in keys if not key.endswith("/lr")] for keys in changed] == [[], []]
    events = [line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"skipped"' in line]
    assert "discriminator nan" in events[0]


def test_fp16_unscales_both_halves_once_and_updates_their_scale_once() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    accelerator: Any = SimpleNamespace(scaler=scaler, num_processes=1)
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizers = [torch.optim.SGD([weight], lr=1.0) for weight in weights]
    for expected, scale in (([1.0, 1.0], 8.0), ([1.0, 2.0], 4.0)):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = -scaler.scale(torch.ones(2))
            if scale == 4.0 and weight is weights[0]:
                weight.grad[0] = torch.inf
            scaler.unscale_(optimizer)
        step_together(accelerator, optimizers)
        assert [float(weight.detach()[0]) for weight in weights] == expected and scaler.get_scale() == scale


def test_fp16_leaves_infinite_gradients_to_the_loss_scaler() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    accelerator: Any = SimpleNamespace(scaler=scaler, num_processes=1)
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for loss in (1.0, torch.nan, 1.0):
        weight.grad = torch.full((3,), torch.inf)
        scaler.scale(torch.ones(()))  # the scaler wakes up at its first use
        scaler.unscale_(optimizer)  # a second time in one step would raise
        values = {"loss": torch.tensor(loss), "gradient_norm": torch.tensor(torch.inf)}
        if loss == loss:
            check_finite(accelerator, values, "loss", "gradient_norm")
            scaler.step(optimizer)
            scaler.update()
        else:
            with pytest.raises(NotFinite):
                check_finite(accelerator, values, "loss", "gradient_norm")
    assert torch.equal(weight.detach(), torch.ones(3)) and scaler.get_scale() == 0.5
