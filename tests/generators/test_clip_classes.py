"""Clips of classes from videos to a record, by the commands: tokenizer, codes, generator, films, gFVD."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_clips import make_clip_tokenizer
from typer.testing import CliRunner

from tokbench import weights
from tokbench.cli.app import app
from tokbench.clips import save_clip
from tokbench.data.video import Video
from tokbench.metrics import extractors, fvd
from tokbench.results.store import Store
from tokbench.results.table import comparison

pytest.importorskip("av")


class Logits:
    """Random numbers of a clip in place of I3D's 400 logits."""

    name, dim, digest = "i3d-k400-tf1", 400, "fake"

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        assert clips.shape[1:] == (3, 9, 16, 16) and clips.dtype == torch.uint8
        return torch.randn(len(clips), self.dim, generator=torch.Generator().manual_seed(int(clips.sum())))


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_clips_of_classes_from_videos_to_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extractors._FACTORIES, fvd.GFVD.extractor, lambda device: Logits())
    monkeypatch.setattr(weights, "find", lambda name: name)
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    noise = torch.Generator().manual_seed(0)
    for split, count in (("train", 4), ("val", 2)):
        for channel, name in ((0, "run"), (2, "wave")):
            for k in range(count):
                clip = torch.randint(0, 60, (3, 10, 20, 24), dtype=torch.uint8, generator=noise)
                clip[channel] += 180
                (tmp_path / "videos" / split / name).mkdir(parents=True, exist_ok=True)
                save_clip(clip, tmp_path / "videos" / split / name / f"{k}.mp4", fps=18)
    make_clip_tokenizer().save_pretrained(tmp_path / "tok")
    data = f"folder:{tmp_path}/videos"
    said = run("encode", tmp_path / "tok", "--data", data, "--fps", 18, "--out", tmp_path / "codes", "--cpu")
    assert "train: 8 clips" in said and "images" not in said

    changes = [
        f"tokenizer={tmp_path}/tok", f"data.source=codes:{tmp_path}/codes", "data.image_size=[9,16,16]", "data.fps=18",
        "generator.width=32", "generator.heads=2", "generator.layers=1", "training.steps=30", "training.batch_size=8",
        "training.learning_rate=0.01", "training.warmup_steps=0", "training.picture_every=0",
        "training.checkpoint_every=0", "evaluation.samples=2",
    ]  # fmt: skip
    sets = [word for change in changes for word in ("--set", change)]
    run("train", "generators/magvit2-video-ucf101", *sets, "--out", tmp_path / "run", "--cpu")

    drawn = tmp_path / "drawn"
    said = run("generate", tmp_path / "run" / "generator", "-n", 2, "--class", 1, "--steps", 3, "--out", drawn, "--cpu")
    assert said.startswith("2 new clips in ")
    assert {path.name for path in drawn.iterdir()} >= {"000000.mp4", "000001.mp4", "000000.png", "grid.png"}
    with Video(drawn / "000001.mp4", name="drawn") as film:
        assert film.frames(range(len(film))).shape == (9, 16, 16, 3) and film.rate == 18

    records = tmp_path / "runs.jsonl"
    given = ["--data", data, "-n", 3, "--steps", 2, "--metrics", "gfvd_tf1", "--out", records, "--cpu"]
    run("evaluate-generator", tmp_path / "run" / "generator", *given)
    (record,) = Store(records).read()
    assert record.data is not None and (record.data.n, record.data.frame_rate) == (4, 18)
    assert record.data.protocol == "tokbench-v1-all-18fps"  # the frames that it was trained on
    gfvd, rate = record.metrics["gfvd_tf1"], record.metrics["nll_bound_bits_per_code"]
    assert gfvd.value is None and "needs at least 401 clips" in str(gfvd.note)
    assert rate.value is not None and 0 < rate.value < 6
    (section,) = comparison([record]).sections
    assert section.title.startswith("Generators") and "4 clips" in section.title
