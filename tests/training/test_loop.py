"""The loop: what it leaves behind, and that an interrupted run is the same run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.training import loop
from tokbench.training.loop import train
from tokbench.training.stopping import Stop

Tiny = Callable[..., TokenizerRecipe]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "tokenizer" / "model.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different, different


def test_a_run_leaves_what_it_promises_and_learns(tiny: Tiny, tmp_path: Path) -> None:
    settings = ["training.steps=40", "training.log_every=5", "training.picture_every=5"]
    result = train(tiny(*settings), tmp_path / "run", quiet=True)
    assert result.finished and result.steps == 40 and result.images == 320
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(5, 41, 5))
    assert lines[-1]["l2"] < 0.8 * lines[0]["l2"]
    assert 0 < lines[-1]["usage"] <= 1
    assert len(list((folder / "pictures").glob("*.png"))) == 8
    summary = json.loads((folder / "training.json").read_text())
    tokenizer = Tokenizer.from_pretrained(folder / "tokenizer")
    assert summary["parameters"] == sum(p.numel() for p in tokenizer.parameters()) + 16 * 8  # RQ's codebook


@pytest.mark.parametrize(
    "settings",
    [
        [],
        # LFQ is gone on with in the default run too: test_tokenizer_task.
        pytest.param(["quantizer.name=lfq", "quantizer.codebook_size=16"], marks=pytest.mark.slow),
        ["quantizer.name=vq", "quantizer.codebook_size=16", "training.ema_decay=0", "training.gradient_accumulation=2"],
    ],
    ids=["rq", "lfq", "vq-accumulated"],
)
def test_stopped_and_resumed_is_bit_equal_to_undisturbed(tiny: Tiny, tmp_path: Path, settings: list[str]) -> None:
    recipe = tiny(*settings)
    train(recipe, tmp_path / "whole", quiet=True)
    for stop in (3, 10):  # 8 batches an epoch: one stop inside each of two epochs
        result = train(recipe, tmp_path / "parts", resume=stop > 3, stop_at=stop, quiet=True)
        assert not result.finished and result.steps == stop
        torch.manual_seed(stop)  # what the process did in between must not matter
    train(recipe, tmp_path / "parts", resume=True, quiet=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_pictures_and_checkpoints_do_not_change_what_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("training.picture_every=5", "training.checkpoint_every=4"), tmp_path / "a", quiet=True)
    train(tiny("training.picture_every=0", "training.checkpoint_every=0"), tmp_path / "b", quiet=True)
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_sigterm_saves_and_returns(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("training.checkpoint_every=0")
    original = loop._Run._train_step

    def terminated(self: loop._Run, batches: list) -> dict:
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_train_step", terminated)
        result = train(recipe, tmp_path / "run", quiet=True)
    assert not result.finished and result.steps == 5 and result.stopped_by == "SIGTERM"
    result = train(recipe, tmp_path / "run", resume=True, quiet=True)
    assert result.finished and result.stopped_by is None
    train(recipe, tmp_path / "whole", quiet=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_preempted_twice_is_preempted_once_and_interrupted_twice_is_now() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for numbers, by in (([signal.SIGTERM] * 2, "SIGTERM"), ([signal.SIGINT, signal.SIGTERM], "SIGINT")):
        with Stop(Accelerator(cpu=True)) as stop:
            assert not stop.asked() and stop.by is None
            for number in numbers:
                os.kill(os.getpid(), number)
            assert stop.asked() and stop.by == by
    for first in (signal.SIGTERM, signal.SIGINT):
        with pytest.raises(KeyboardInterrupt), Stop(Accelerator(cpu=True)):
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path, stop_at=4, quiet=True)
    with pytest.raises(TokbenchError, match=r"holds an unfinished run \(step 4\); continue it with --resume"):
        train(tiny(), tmp_path, quiet=True)
    with pytest.raises(TokbenchError, match="another recipe: training.learning_rate differ"):
        train(tiny("training.learning_rate=0.5"), tmp_path, resume=True, quiet=True)
    train(tiny(), tmp_path, resume=True, quiet=True)
    with pytest.raises(TokbenchError, match="holds a finished run"):
        train(tiny(), tmp_path, quiet=True)


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("training.checkpoint_every=4")
    train(recipe, tmp_path / "whole", quiet=True)
    train(recipe, tmp_path / "run", stop_at=9, quiet=True)
    (tmp_path / "run" / "checkpoints" / "step-00000009" / "state.pt").write_bytes(b"broken")
    train(recipe, tmp_path / "run", resume=True, quiet=True)
    assert "step-00000009" in capsys.readouterr().out
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_loss_that_is_not_finite_names_step_terms_and_samples(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"step \d+: the loss is not finite \(.*\); lower .*samples of the batch: "):
        train(
            tiny("training.learning_rate=1e18", "training.gradient_clip=null", "training.warmup_steps=0"),
            tmp_path,
            quiet=True,
        )


def test_a_batch_that_does_not_split_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="batch_size 8 .*gradient_accumulation 3"):
        train(tiny("training.gradient_accumulation=3"), tmp_path, quiet=True)


def test_a_tokenizer_trains_on_from_its_weights(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "first", quiet=True)
    source = str(tmp_path / "first" / "tokenizer")
    # One step of no size: what is saved is what training started from.
    still = ["training.steps=1", "training.warmup_steps=0", "training.learning_rate=1e-30", "training.ema_decay=0"]
    train(tiny(f"start_from={source}", *still, "quantizer.decay=1"), tmp_path / "second", quiet=True)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[k], second[k]) for k in first if k.startswith(("encoder", "decoder")))
    with pytest.raises(TokbenchError, match="weights do not fit the configuration"):
        train(tiny(f"start_from={source}", "model.channels=16"), tmp_path / "third", quiet=True)
