"""``training.compile`` on the CPU: what is traced learns as the plain step does, and what fails is one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.training.compiling import compiler_fault
from tokbench.training.finite import NotFinite
from tokbench.training.loop import train
from tokbench.training.tokenizer_task import TokenizerTask

Tiny = Callable[..., TokenizerRecipe]
ON = "training.compile=true"


def through(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """``torch.compile`` hands its graphs to this in place of compiling them, which takes minutes."""
    torch.compiler.reset()  # what another test has had traced is not traced again
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def test_a_traced_step_draws_and_guards_as_the_plain_one(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """k-means on the first batch, restarts in the next ones, and latents that are NaN."""
    through(monkeypatch, "eager")
    tasks, small = [], ("model.blocks=1", "quantizer.kmeans_init=true")
    for settings in ((), (ON,)):
        torch.manual_seed(0)
        task = TokenizerTask(tiny(*small, *settings), Accelerator(cpu=True))
        torch.manual_seed(1)
        for step in range(3):
            task.step([{"image": torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)}], step, 1.0)
        tasks.append(task)
    plain, traced = (task.tokenizer.state_dict() for task in tasks)
    assert all(torch.equal(traced[key], value) for key, value in plain.items())
    for task in tasks:
        with torch.no_grad():
            next(task.tokenizer.encoder.parameters()).fill_(torch.nan)
        with pytest.raises(NotFinite):
            task.step([{"image": torch.zeros(8, 3, 16, 16, dtype=torch.uint8)}], 3, 1.0)


def test_a_compiler_that_fails_is_one_line(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError(
            "C++ compile error\n\nCommand:\ng++ made.cpp\n\nOutput:\nvec512.h:3:1: error: no such name\n"
        )

    through(monkeypatch, broken)
    told = r"^training.compile: vec512.h:3:1: error: no such name \(ATEN_CPU_CAPABILITY=avx2 .*\); set it to false"
    with pytest.raises(TokbenchError, match=told):
        train(tiny(ON), tmp_path / "run", quiet=True, accelerator=Accelerator(cpu=True))
    assert compiler_fault(RuntimeError("another's")) is None
