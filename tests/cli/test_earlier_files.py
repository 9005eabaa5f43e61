"""Files that an earlier revision wrote (fa09436): a tokenizer, generators, a code cache, .tokb files and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.results.store import Store

EARLIER = Path(__file__).resolve().parents[1] / "fixtures" / "earlier"
TOKENIZER = str(EARLIER / "tokenizer")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def same_image(found: Path, expected: Path) -> None:
    """Equal but for a level: another processor adds in another order."""
    a, b = (np.asarray(Image.open(path)).astype(int) for path in (found, expected))
    assert a.shape == b.shape and abs(a - b).max() <= 1, found.name


@pytest.mark.parametrize("name, coder", [("cat", ("--generator", "ar")), ("histogram", ("--histogram", "codes"))])
def test_a_compressed_image_is_read(name: str, coder: tuple[str, str], tmp_path: Path) -> None:
    file, out = EARLIER / f"{name}.tokb", tmp_path / f"{name}.png"
    how = (coder[0], str(EARLIER / coder[1]), "--tokenizer", TOKENIZER, "--cpu")
    run("decompress", str(file), "--out", str(out), *how)
    same_image(out, EARLIER / f"{name}.png")


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_a_generator_samples_the_same_images(name: str, tmp_path: Path) -> None:
    run("generate", str(EARLIER / name), "--tokenizer", TOKENIZER, "-n", "4", "--out", str(tmp_path), "--cpu")
    for number in range(4):
        same_image(tmp_path / f"{number:06d}.png", EARLIER / f"drawn-{name}" / f"{number:06d}.png")


def test_the_code_cache_trains_a_generator(tmp_path: Path) -> None:
    settings = [
        f"data.source=codes:{EARLIER / 'codes'}", "data.image_size=16", f"tokenizer={TOKENIZER}", "generator.width=16",
        "generator.heads=2", "generator.layers=1", "generator.class_conditional=true", "training.steps=2",
        "training.batch_size=4", "training.warmup_steps=1", "training.picture_every=0", "training.log_every=1",
    ]  # fmt: skip
    sets = [part for setting in settings for part in ("--set", setting)]
    run("train", "generators/demo-ar", *sets, "--out", str(tmp_path / "run"), "--cpu")
    assert (tmp_path / "run" / "generator" / "model.safetensors").is_file()


def test_records_are_read_and_written_as_they_were() -> None:
    lines = (EARLIER / "runs.jsonl").read_text().splitlines()
    read = Store(EARLIER / "runs.jsonl").read()
    assert not read.damaged and len(read) == len(lines) == 3
    for record, line in zip(read, lines, strict=True):
        assert record.line == line.encode() == record.replace().line
    table = run("table", str(EARLIER / "runs.jsonl"))
    assert "folder:eval=img (eval)" in table and "rq" in table and " mlm " in table
