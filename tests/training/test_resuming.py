"""A run that goes on with other data, or a stream read by other workers, says so; one that does not says nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.training.loop import train
from tokbench.training.resuming import changes, trained_on

Tiny = Callable[..., TokenizerRecipe]


def add(root: Path, name: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / name)


@pytest.fixture
def begun(tiny: Tiny, tmp_path: Path) -> tuple[TokenizerRecipe, Path, Path]:
    """A recipe, its folder of images, and a run of it that stopped within its first epoch."""
    root = tmp_path / "images"
    for k in range(24):
        add(root, f"train/{k:02d}.bmp", k)
    add(root, "val/0.bmp", 99)
    recipe = tiny(f"data.source=folder:{root}", "data.limit=null", "training.checkpoint_every=0")
    train(recipe, tmp_path / "run", stop_at=2, quiet=True)
    return recipe, root, tmp_path / "run"


def gained(root: Path) -> None:
    add(root, "train/extra.bmp", 50)


def lost(root: Path) -> None:
    (root / "train" / "03.bmp").unlink()


def exchanged(root: Path) -> None:
    file = root / "train" / "03.bmp"
    before = file.stat()
    add(root, "train/03.bmp", 51)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def renamed(root: Path) -> None:
    (root / "train" / "03.bmp").rename(root / "train" / "zz.bmp")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (gained, "24 images when the checkpoint was written, 25 now"),
        (lost, "24 images when the checkpoint was written, 23 now"),
        (exchanged, "24 images as before, of other names, contents, labels or times"),
        (renamed, "24 images as before, of other names, contents, labels or times"),
    ],
)
def test_changed_data_are_said_on_the_terminal_and_in_the_log(
    begun: tuple[TokenizerRecipe, Path, Path],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    told: str,
) -> None:
    recipe, root, run = begun
    change(root)
    assert train(recipe, run, resume=True, quiet=True).finished
    assert f"folder:{root} has changed ({told})" in capsys.readouterr().out
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines() if '"event"' in line]
    assert [(event["event"], event["step"]) for event in events] == [("changed", 2)] and told in events[0]["message"]


def test_the_same_data_are_not_spoken_of(
    begun: tuple[TokenizerRecipe, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, root, run = begun
    shutil.copytree(run, tmp_path / "older")
    os.utime(root / "train" / "03.bmp")
    add(root, "val/1.bmp", 98)  # is not trained on
    train(recipe, run, resume=True, stop_at=4, quiet=True)
    state, _ = load_checkpoint(tmp_path / "older" / "checkpoints")
    assert state is not None and state.pop("data")["count"] == 24
    save_checkpoint(tmp_path / "older" / "checkpoints", 2, state, keep=1)
    gained(root)
    train(recipe, tmp_path / "older", resume=True, stop_at=4, quiet=True)
    assert "changed" not in capsys.readouterr().out


def test_a_stream_says_that_its_order_depends_on_who_reads_it(tmp_path: Path) -> None:
    import io
    import tarfile

    out = io.BytesIO()
    Image.new("RGB", (20, 20)).save(out, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("1.png")
        member.size = len(out.getvalue())
        archive.addfile(member, io.BytesIO(out.getvalue()))
    spec = f"webdataset:train={tmp_path}/a.tar,eval={tmp_path}/a.tar"
    stream, shards = (open_images(spec + kind, "train", image_size=16) for kind in (":streaming", ""))

    def told(images: Any, was: int, now: int, processes: int = 1) -> list[str]:
        state = {"processes": 1, "gradient_accumulation": 1, "data": trained_on(images, was)}
        return changes(state, processes, 1, trained_on(images, now))

    (line,) = told(stream, 0, 2)
    assert "data.workers (was 1, is 2)" in line and "repeats some images and leaves out others" in line
    assert told(stream, 0, 1) == told(stream, 4, 4) == told(shards, 0, 4) == []
    assert len(told(stream, 2, 2, processes=2)) == 2 and len(told(shards, 2, 2, processes=2)) == 1


def test_a_generator_is_not_trained_on_with_the_codes_of_another_tokenizer() -> None:
    data = {"source": "photos", "fingerprint": "a", "count": 3, "readers": None, "tokenizer": "1" * 64}
    state = {"processes": 1, "data": data}
    assert changes(state, 1, 1, data) == []
    with pytest.raises(TokbenchError, match="tokenizer's weights are not those .*111111111111, now 222222222222"):
        changes(state, 1, 1, data | {"tokenizer": "2" * 64})
