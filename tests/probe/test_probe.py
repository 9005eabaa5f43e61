"""A classifier on codes beside the same one on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tokenizer import make_tokenizer
from typer.testing import CliRunner, Result

from tokbench.cli.app import app
from tokbench.config.model import TokenizerConfig
from tokbench.data.loader import Loader
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.probe import run
from tokbench.probe.classifier import Classifier, CodeInput, PatchInput, ProbeSettings
from tokbench.probe.samples import Codes, Labelled, Pixels, open_labelled
from tokbench.results.store import Store
from tokbench.results.table import comparison

SMALL = ["--width", "16", "--layers", "1", "--heads", "2", "--steps", "60", "--batch-size", "8",
         "--learning-rate", "0.003", "--cpu"]  # fmt: skip
SETTINGS = ProbeSettings(width=16, layers=1, heads=2, steps=12, batch_size=8)


def probe(home: Path, out: Path, *more: str, tokenizer: str = "tok", data: str = "images") -> Result:
    paths = ["--out", str(out), "--work", str(out / "work")]
    return CliRunner().invoke(
        app, ["probe", str(home / tokenizer), "--data", f"folder:{home / data}", *SMALL, *paths, *more]
    )


def opened(home: Path) -> Labelled:
    return open_labelled(f"folder:{home / 'images'}", 16, 3, limit=None, eval_limit=None, stride=1, fps=None)


def test_both_inputs_are_learned_from_and_recorded(home: Path, tmp_path: Path) -> None:
    done = probe(home, tmp_path)
    assert done.exit_code == 0, done.output
    codes, pixels = Store(tmp_path / "runs.jsonl").read()
    for record in (codes, pixels):
        top1 = record.metrics["probe_top1"]
        assert record.kind == "benchmark" and top1.n == 16 and top1.value is not None and top1.value > 80
        assert top1.stderr is not None and top1.stderr > 0  # all of 16 right is not certainty
        assert top1.note is not None and "40 samples of 2 classes" in top1.note
        assert record.training.steps == 60 and record.data is not None and record.data.n == 16
    assert codes.rate is not None and codes.rate.tokens == [4, 4, 2] and codes.quantizer.name == "rq"
    assert pixels.rate is None and pixels.quantizer.name is None and pixels.name == "pixels on a 4x4 grid"
    assert "-40-w16-" in codes.metrics["probe_top1"].version
    assert codes.metrics["probe_top1"].version == pixels.metrics["probe_top1"].version
    bodies = [record.model["parameters"] - record.model["input_parameters"] for record in (codes, pixels)]
    assert bodies[0] == bodies[1]
    assert "that the probe runs" in " ".join(done.output.split()) and "50.00 %" in done.output
    assert not [path for path in (tmp_path / "work").iterdir() if not path.name.startswith("codes-")]


def test_a_record_that_is_there_is_not_made_again_and_pixels_serve_every_tokenizer_of_the_grid(
    home: Path, tmp_path: Path
) -> None:
    short = ["--steps", "2", "--eval-limit", "4"]
    assert probe(home, tmp_path, *short).exit_code == 0
    again = probe(home, tmp_path, *short)
    assert again.exit_code == 0 and "there already" in again.output
    make_tokenizer({"name": "vq", "codebook_size": 16}, seed=1).save_pretrained(home / "other")
    assert probe(home, tmp_path, *short, tokenizer="other").exit_code == 0
    records = Store(tmp_path / "runs.jsonl").read()
    assert [record.model["reads"] for record in records] == ["codes", "pixels", "codes"]


def test_seeds_become_one_row_and_other_classifiers_another_column(home: Path, tmp_path: Path) -> None:
    short = ["--steps", "2", "--inputs", "codes"]
    assert probe(home, tmp_path, *short, "--seed", "0,1").exit_code == 0
    assert probe(home, tmp_path, *short, "--width", "8").exit_code == 0
    (section,) = comparison(Store(tmp_path / "runs.jsonl").read()).sections
    columns = [column for column in section.columns if column.key.startswith("probe_top1")]
    assert len(columns) == 2 and len(section.rows) == 2


def test_codes_and_pixels_are_of_the_same_images_in_the_same_order(home: Path, tmp_path: Path) -> None:
    data, tokenizer = opened(home), make_tokenizer({"name": "vq", "codebook_size": 16})
    codes, pixels = Codes(data, tokenizer, tmp_path, batch_size=8), Pixels(data)

    def order() -> Loader:
        plan = Loader(data.train, batch_size=8, shuffle=True, seed=3, drop_last=True)
        plan.set_epoch(2)
        plan.start_batch = 1
        return plan

    pairs = list(zip(codes.training(order()), pixels.training(order()), strict=True))
    assert len(pairs) == 4
    for (code, label), (image, same) in [*pairs, *zip(codes.held_out(5), pixels.held_out(5), strict=True)]:
        assert torch.equal(label, same) and torch.equal(code, tokenizer.encode(image))


@pytest.mark.parametrize("reads", ["codes", "pixels"])
def test_interrupted_it_goes_on_to_the_same_result(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    data, tokenizer = opened(home), make_tokenizer({"name": "vq", "codebook_size": 16})
    samples: Codes | Pixels = Pixels(data)
    if reads == "codes":
        samples = Codes(data, tokenizer, tmp_path / "codes", batch_size=8)
    monkeypatch.setattr(run, "CHECKPOINT_EVERY", 3)
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    def result(folder: str, progress: Any) -> dict[str, float]:
        torch.manual_seed(0)
        read = CodeInput(tokenizer.quantizer, 16) if reads == "codes" else PatchInput((16, 16), 3, (4, 4), 16)
        classifier = Classifier(read, 16, data.classes, SETTINGS)
        found = run.recognise(classifier, samples, data, SETTINGS, seed=0, folder=tmp_path / folder, progress=progress)
        return {"loss": found.train_loss, "right": found.right, "weights": classifier.head.weight.sum().item()}

    whole = result("whole", None)
    with pytest.raises(KeyboardInterrupt):
        result("cut", stop)
    assert result("cut", lambda done, total: seen.append(done)) == whole
    assert seen == list(range(7, 13))


def test_patches_cut_the_image_and_begin_with_the_first_frame_alone() -> None:
    read = PatchInput((5, 4, 8), 3, (2, 2, 2), 6)
    assert read.patch == (3, 2, 4) and read.front == (1, 0, 0)
    read = PatchInput((5, 4, 8), 3, (2, 2, 2), 3 * 3 * 2 * 4)
    torch.nn.init.eye_(read.linear.weight)
    torch.nn.init.zeros_(read.linear.bias)
    clips = torch.arange(3 * 5 * 4 * 8).float().view(1, 3, 5, 4, 8)
    patches = read(clips).view(1, 2, 2, 2, 3, 3, 2, 4)
    assert torch.equal(patches[0, 0, 1, 1, :, 0], clips[0, :, 0, 2:, 4:])  # repeated in front
    assert torch.equal(patches[0, 0, 0, 0, :, 1:], clips[0, :, :2, :2, :4])
    assert torch.equal(patches[0, 1, 1, 0], clips[0, :, 2:, 2:, :4])
    with pytest.raises(TokbenchError, match="lie on no grid"):
        PatchInput((16, 16), 3, (32,), 8)


def test_depths_are_summed_and_large_vocabularies_read_by_their_subcodes() -> None:
    tokenizer = make_tokenizer({"name": "rq", "codebook_size": 32, "depth": 2})
    read = CodeInput(tokenizer.quantizer, 6)
    codes = torch.randint(32, (2, 4, 4, 2))
    wanted = read.table(codes[..., 0]) + read.table(codes[..., 1] + 32)
    assert torch.allclose(read(codes), wanted.flatten(1, 2))
    large = make_tokenizer({"name": "lfq", "codebook_size": 2**18}, {"code_channels": 18})
    assert CodeInput(large.quantizer, 2).table.num_embeddings == sum(large.quantizer.subcode_sizes) < 2**18


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--inputs", "codec"], "--inputs codec: unknown (did you mean 'codes'?)"),
        (["--heads", "3"], "a width of 16 is not a multiple of 3 heads"),
        (["--learning-rate", "0"], "learning_rate is 0.0; it must be above 0"),
        (["--learning-rate", "1e30", "--steps", "9"], "use a smaller --learning-rate"),
        (["--batch-size", "64"], "has 40 images, fewer than one batch of 64"),
        (["--size", "18"], "--size"),
    ],
)
def test_a_mistake_is_one_line(home: Path, tmp_path: Path, more: list[str], said: str) -> None:
    failed = probe(home, tmp_path, *more)
    assert isinstance(failed.exception, TokbenchError | SystemExit)
    assert said in str(failed.exception) and "\n" not in str(failed.exception)
    assert not (tmp_path / "runs.jsonl").exists()


def test_a_tokenizer_of_depth_is_probed_on_depth(home: Path, tmp_path: Path) -> None:
    config = Tokenizer.from_pretrained(home / "tok").config.model_dump() | {"channels": 1, "kind": "depth"}
    Tokenizer(TokenizerConfig.model_validate(config)).save_pretrained(tmp_path / "depth")
    for place in ("train/a", "train/b", "val/a", "val/b"):
        (tmp_path / "maps" / place).mkdir(parents=True)
        for k in range(4):
            values = torch.rand(16, 16) if place.endswith("a") else torch.arange(256.0).reshape(16, 16) + k
            np.save(tmp_path / "maps" / place / f"{k}.npy", values.numpy())
    done = probe(tmp_path, tmp_path / "out", "--steps", "2", tokenizer="depth", data="maps")
    assert done.exit_code == 0, done.output
    assert {r.data.protocol for r in Store(tmp_path / "out" / "runs.jsonl").read() if r.data} == {"tokbench-v1-depth"}


def test_images_without_classes_are_refused(home: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "plain" / split).mkdir(parents=True)
        for k in range(9):
            Image.new("RGB", (16, 16), (k, k, k)).save(tmp_path / "plain" / split / f"{k}.png")
    failed = probe(tmp_path, tmp_path, data="plain", tokenizer=str(home / "tok"))
    assert "no classes, and a probe needs two or more" in str(failed.exception)


def test_videos_give_every_window_to_learn_from_and_one_each_to_try(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from importlib import resources

    from tokbench.config.model import TokenizerConfig
    from tokbench.models import Tokenizer

    shipped = resources.files("tokbench.data").joinpath("builtin_clips")
    for split in ("train", "val"):
        for name in ("big_buck_bunny", "cockatoo"):
            (tmp_path / "clips" / split / name).mkdir(parents=True)
            (tmp_path / "clips" / split / name / f"{split}.mp4").write_bytes(
                shipped.joinpath(f"{name}.mp4").read_bytes()
            )
    torch.manual_seed(0)
    video = {
        "architecture": "magvit2-video",
        "channels": 8,
        "multipliers": (1, 1),
        "blocks": 1,
        "halve_frames": (True,),
    }
    config = {"image_size": (5, 16, 16), "model": video, "quantizer": {"name": "lfq", "codebook_size": 256}}
    tokenizer = Tokenizer(TokenizerConfig.model_validate(config))
    tokenizer.save_pretrained(tmp_path / "video")
    few = ["--steps", "2", "--batch-size", "4", "--limit", "8"]
    done = probe(tmp_path, tmp_path, *few, tokenizer="video", data="clips")
    assert done.exit_code == 0, done.output
    codes, pixels = Store(tmp_path / "runs.jsonl").read()
    assert codes.data is not None and (codes.data.n, codes.data.size) == (2, (5, 16, 16))
    assert codes.data.protocol == "tokbench-v1-first" and codes.training.images == 8
    assert codes.rate is not None and codes.rate.tokens[:-1] == list(tokenizer.grid()) == pixels.model["grid"]
