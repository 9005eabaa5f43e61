"""What happens in a week of training, in minutes: kills, preemption, full disks, damage, dead processes.

Every drill ends in weights that are bit-equal to those of a run that nothing happened to.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from fork_server import ForkServer
from PIL import Image
from recipes_tiny import TINY
from safetensors.torch import load_file

from tokbench import cli
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import Recipe
from tokbench.data.shards import ShardImages
from tokbench.errors import TokbenchError
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.training import loop
from tokbench.training.checkpoint import load_checkpoint, newest_step
from tokbench.training.loop import train

# All that a checkpoint must hold: two optimizers, averaged weights, an EMA codebook with restarts, LeCam's averages.
GAN = "loss.adversarial={start: 2, lecam: 0.1, discriminator: {name: patchgan, channels: 8, layers: 1}}"
SETTINGS = [*TINY, "quantizer.codebook_size=16", GAN, "training.checkpoint_every=3", "training.picture_every=0"]

_RUN = """
import sys
from pathlib import Path
from tokbench.config.loading import load_recipe
from tokbench.training.loop import train
recipe = load_recipe("demo", {settings!r})
sys.exit(0 if train(recipe, Path({out!r}), resume=True, quiet=True).finished else 3)
"""


class Runs:
    """Starts runs in processes of their own, and ends them."""

    def __init__(self, server: ForkServer, *settings: str) -> None:
        self.server, self.settings = server, [*SETTINGS, *settings]

    def run(self, out: Path, after: float | None = None, number: int = signal.SIGKILL, training: bool = False) -> int:
        """The exit code: 0 finished, 3 stopped, -9 killed.

        The signal is sent ``after`` seconds: of the process, or with ``training`` of steps (it logs when it goes on).
        """
        before = _changed(out / "log.jsonl")

        def kill() -> int:
            patience = time.monotonic() + 60
            while training and _changed(out / "log.jsonl") == before and time.monotonic() < patience:
                time.sleep(0.01)
            time.sleep(after or 0.0)
            return number

        code = _RUN.format(settings=self.settings, out=str(out))
        return self.server.run(code, None if after is None else kill)


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "tokenizer" / "model.safetensors")


def assert_same(one: Path, two: Path) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different


def drill(server: Runs, folder: Path, times: int, number: int, seed: int) -> tuple[int, list[int]]:
    """One run, ended ``times`` times at random moments and gone on with: the signals that hit it, the steps reached."""
    started = time.monotonic()
    assert server.run(folder / "whole") == 0
    seconds = time.monotonic() - started
    draw, hit, steps = random.Random(seed), 0, []
    for _ in range(3 * times):
        if hit == times:
            break
        # Most of them in the midst of steps, one in five while the process still reads, restores and builds.
        training = draw.random() < 0.8
        after = draw.uniform(0.0, 1.5) * seconds / times if training else draw.uniform(0.0, 1.0)
        code = server.run(folder / "parts", after, number, training)
        assert code in (0, 3, -number), code
        if code == 0:
            break
        hit += 1
        steps.append(newest_step(folder / "parts" / "checkpoints") or 0)
        if steps[-1] > 0:  # whatever the moment was, there is a checkpoint that is whole
            state, problems = load_checkpoint(folder / "parts" / "checkpoints")
            assert state is not None and not problems
    if not (folder / "parts" / "training.json").exists():
        assert server.run(folder / "parts") == 0
    assert_same(folder / "whole", folder / "parts")
    assert steps == sorted(steps)  # nothing beyond the last checkpoint is ever lost
    return hit, steps


def test_killed_twice_and_gone_on_with(forks: ForkServer, tmp_path: Path) -> None:
    drill(Runs(forks, "training.steps=16"), tmp_path, times=2, number=signal.SIGKILL, seed=0)


@pytest.mark.drill
def test_killed_thirty_times(forks: ForkServer, tmp_path: Path) -> None:
    hit, steps = drill(Runs(forks, "training.steps=400"), tmp_path, times=30, number=signal.SIGKILL, seed=1)
    print(f"killed {hit} times, with checkpoints of steps {steps}; weights bit-equal")
    assert hit >= 25 and len(set(steps)) > 10


@pytest.mark.drill
def test_preempted_ten_times(forks: ForkServer, tmp_path: Path) -> None:
    server = Runs(forks, "training.steps=300", "training.checkpoint_every=0")
    hit, steps = drill(server, tmp_path, times=10, number=signal.SIGTERM, seed=2)
    print(f"SIGTERM {hit} times, checkpoints of steps {steps}; weights bit-equal")
    assert hit >= 5 and max(steps) > 0  # with no checkpoints of its own, each is that of a signal


# Disk full --------------------------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes: what a full disk looks like to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo", [*SETTINGS, *settings])


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    train(recipe(), tmp_path / "whole", quiet=True)
    run = tmp_path / "run"
    train(recipe(), run, stop_at=4, quiet=True)
    size = (run / "checkpoints" / "step-00000004" / "state.pt").stat().st_size
    before = {p.name for p in (run / "checkpoints").iterdir()}
    for share in (0.0, 0.3, 0.99):
        with files_of_at_most(int(share * size)), pytest.raises((TokbenchError, OSError)) as caught:
            train(recipe(), run, resume=True, quiet=True)
        assert "\n" not in str(caught.value)
        if share:
            assert "could not be written" in str(caught.value) and "step 4 is intact" in str(caught.value)
        assert {p.name for p in (run / "checkpoints").iterdir()} == before
    train(recipe(), run, resume=True, quiet=True)
    assert_same(tmp_path / "whole", run)


def test_a_disk_that_fills_up_while_a_record_is_appended(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.jsonl")
    made: dict[str, Any] = {"id": "a", "cell": "c", "created": "2025-01-01", "name": "n"}
    store.append(Record.of(**made))
    content = store.path.read_bytes()
    for room in (0, 1, 50):
        with files_of_at_most(len(content) + room), pytest.raises(TokbenchError, match="cannot append a record"):
            store.append(Record.of(**{**made, "recipe": {"long": "x" * 100}}))
        assert store.path.read_bytes() == content
    store.append(Record.of(**made))
    assert len(store.read()) == 2 and not store.read().damaged


# Damaged data -----------------------------------------------------------------------------------------------------


def shard(path: Path, start: int, count: int) -> None:
    random_ = np.random.default_rng(start)
    with tarfile.open(path, "w") as archive:
        for key in range(start, start + count):
            picture = path.with_name(f"{key:04d}.png")
            Image.fromarray(random_.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(picture)
            archive.add(picture, picture.name)
            picture.unlink()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        shard(folder / f"train-{number}.tar", 20 * number, 20)
    shard(folder / "val-0.tar", 900, 12)
    return folder


def test_shards_that_break_are_named_and_what_is_left_is_used(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    data = [f"data.source=webdataset:{shards}/*.tar", "data.limit=null"]
    train(recipe(*data), tmp_path / "run", stop_at=5, quiet=True)
    cut, scrambled = shards / "train-1.tar", shards / "train-2.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with tarfile.open(scrambled) as archive:
        first = archive.getmembers()[0]
    content = bytearray(scrambled.read_bytes())
    content[first.offset_data : first.offset_data + first.size] = bytes(first.size)
    scrambled.write_bytes(content)
    images: list[ShardImages] = []
    opened = ShardImages.__init__

    def noted(self: ShardImages, *arguments: Any) -> None:
        opened(self, *arguments)
        images.append(self)

    with mock.patch.object(ShardImages, "__init__", noted):
        result = train(recipe(*data), tmp_path / "run", resume=True, quiet=True)
    assert result.finished
    skipped = {name.partition("/")[0] for each in images for name, _ in each.skipped}
    assert skipped == {"train-1.tar", "train-2.tar"}
    scrambled.write_bytes(b"no archive at all")
    with pytest.raises(TokbenchError, match=r"train-2\.tar is not a plain tar archive"):
        train(recipe(*data), tmp_path / "again", quiet=True)


# A process that reads images dies -------------------------------------------------------------------------------


def test_a_process_that_reads_pictures_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command, whose user sees one line; the run goes on to the same weights."""
    train(recipe(), tmp_path / "whole", quiet=True)
    step = loop._Run._train_step

    def deadly(self: loop._Run, batches: list[Any]) -> Any:
        if self.step == 7:
            for child in multiprocessing.active_children():
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
        return step(self, batches)

    arguments = [part for text in [*SETTINGS, "data.workers=2"] for part in ("--set", text)]
    command = ["tokbench", "train", "demo", "--cpu", "--out", str(tmp_path / "run"), *arguments]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", command)
        patch.setattr(loop._Run, "_train_step", deadly)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tokbench: ")]
    assert ended.value.code == 2 and len(lines) == 1 and "a process that reads images died" in lines[0]
    train(recipe("data.workers=2"), tmp_path / "run", resume=True, quiet=True)
    assert_same(tmp_path / "whole", tmp_path / "run")
