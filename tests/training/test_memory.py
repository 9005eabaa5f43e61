"""Out of memory: said with what to change, or avoided by smaller micro-batches of the same batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.memory import is_out_of_memory
from tokbench.training.loop import train
from tokbench.training.memory import out_of_memory
from tokbench.training.tokenizer_task import TokenizerTask

Tiny = Callable[..., TokenizerRecipe]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """A device with memory for ``most`` images at a time; the micro-batches that were tried are listed."""

    def make(most: int) -> list[int]:
        original, tried = TokenizerTask._images, []

        def images(self: TokenizerTask, batch: Any) -> torch.Tensor:
            tried.append(len(batch["image"]))
            if tried[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return original(self, batch)

        monkeypatch.setattr(TokenizerTask, "_images", images)
        return tried

    return make


def test_the_message_names_batch_resolution_and_three_things(
    tiny: Tiny, tmp_path: Path, room: Callable[[int], list[int]]
) -> None:
    room(4)
    with pytest.raises(TokbenchError) as error:
        train(tiny(), tmp_path, quiet=True)
    said = str(error.value)
    assert said.startswith("step 1: out of memory with 8 images of 16x16 a process and micro-batch; change one of: ")
    first, *others = said.partition("change one of: ")[2].split("; ")
    assert "--find-batch-size" in first and "training.gradient_accumulation=2" in first and "stays 8" in first
    assert others == ["training.activation_checkpointing=true", "training.precision=bf16"]
    assert len(said.splitlines()) == 1


def test_what_has_been_done_already_is_not_advised(tiny: Tiny) -> None:
    recipe = tiny("training.activation_checkpointing=true", "training.gradient_accumulation=8")
    said = out_of_memory(recipe, 1, 8, 1, "bf16")
    assert "accumulation" not in said and "checkpointing" not in said and "bf16" not in said
    assert said.count(";") == 3 and "data.image_size than 16" in said


def test_only_memory_errors_are_taken_for_them() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_largest_micro_batch_that_fits_is_found_and_the_batch_stays(
    tiny: Tiny, tmp_path: Path, room: Callable[[int], list[int]]
) -> None:
    tried = room(3)
    result = train(tiny("training.steps=6"), tmp_path / "found", find_batch_size=True, stop_at=4, quiet=True)
    assert tried == [8, 4, 2, 2, 2, 2, *[2] * 4 * 4]  # 2 does: twice two of its four; then 4 steps of 4 micro-batches
    assert result.images == 32
    del tried[:]
    train(tiny("training.steps=6"), tmp_path / "found", find_batch_size=True, resume=True, quiet=True)
    assert set(tried) == {2}  # nothing is tried again
    summary = json.loads((tmp_path / "found" / "training.json").read_text())
    assert summary["gradient_accumulation"] == 4 and summary["images"] == 48
    # The same as asking for it: trying left no trace.
    from safetensors.torch import load_file

    train(tiny("training.steps=6", "training.gradient_accumulation=4"), tmp_path / "asked", quiet=True)
    one, two = (load_file(tmp_path / run / "tokenizer" / "model.safetensors") for run in ("found", "asked"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_not_even_one_image_fits(tiny: Tiny, tmp_path: Path, room: Callable[[int], list[int]]) -> None:
    room(0)
    with pytest.raises(TokbenchError, match=r"--find-batch-size: out of memory with 1 images of 16x16 .*checkpointing"):
        train(tiny(), tmp_path, find_batch_size=True, quiet=True)


def test_after_running_out_a_run_goes_on_with_more_micro_batches(
    tiny: Tiny, tmp_path: Path, room: Callable[[int], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(), tmp_path, stop_at=5, quiet=True)
    seen = []
    original = TokenizerTask.step

    def step(self: TokenizerTask, batches: Any, step: int, factor: float) -> Any:
        seen.append([name for batch in batches for name in batch["id"]])
        return original(self, batches, step, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenizerTask, "step", step)
        train(tiny("training.gradient_accumulation=2"), tmp_path, resume=True, stop_at=8, quiet=True)
        train(tiny(), tmp_path / "whole", stop_at=8, quiet=True)
    assert "not bit-identically" in capsys.readouterr().out
    # The epoch goes on at the right sample: steps 6 to 8 see what an undisturbed run sees.
    assert [sorted(ids) for ids in seen[:3]] == [sorted(ids) for ids in seen[-3:]]
