"""Encoding that was killed goes on where it stopped, and the cache is the one of an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from fork_server import ForkServer
from typer.testing import CliRunner

from tokbench.cli.encode import encode
from tokbench.codes.encoding import write_codes
from tokbench.codes.header import CodeHeader
from tokbench.codes.writer import CodeWriter
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

HEADER = CodeHeader(
    tokenizer="made", tokenizer_sha256="ab" * 32, codebook_sizes=(70000, 5), shape=(2, 3, 2), image_size=8,
    source="made", split="train", preprocessing="", fingerprint="", latent_channels=2,
    captions=True,
)  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def add(writer: CodeWriter, batch: int, marked: bool = True) -> None:
    torch.manual_seed(batch)
    codes = torch.stack([torch.randint(70000, (7, 2, 3)), torch.randint(5, (7, 2, 3))], dim=-1)
    position, texts = (0, batch + 1) if marked else None, [f"{batch} é\u2028{'x' * k}" for k in range(7)]
    writer.add(codes, torch.full((7,), batch), torch.randn(7, 2, 3, 2), position, texts=texts)


def whole(folder: Path) -> dict[str, bytes]:
    with CodeWriter(folder, HEADER, shard=16, batch_size=7) as writer:
        for batch in range(6):
            add(writer, batch)
    return files(folder)


@pytest.mark.parametrize("batches", [1, 2, 3, 5])
@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_writer_is_gone_on_with(tmp_path: Path, batches: int, torn: bool) -> None:
    expected = whole(tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt), CodeWriter(tmp_path / "cache", HEADER, shard=16, batch_size=7) as writer:
        for batch in range(batches):
            add(writer, batch)
        if torn:  # a batch of which not all got onto the disk
            add(writer, 40, marked=False)
            with next(writer.scratch.glob("latents-*.bin")).open("ab") as file:
                file.write(b"half")
        raise KeyboardInterrupt
    assert not (tmp_path / "cache").exists()
    with CodeWriter(tmp_path / "cache", HEADER, shard=16, batch_size=7) as writer:
        assert writer.position == (0, batches) and sum(writer.shards) == 7 * batches
        for batch in range(batches, 6):
            add(writer, batch)
    assert files(tmp_path / "cache") == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_was_begun_otherwise_or_is_damaged_is_begun_anew(tmp_path: Path) -> None:
    expected = whole(tmp_path / "undisturbed")

    def begin(**settings: object) -> CodeWriter:
        header = settings.pop("header", HEADER)
        writer = CodeWriter(tmp_path / "cache", header, **{"shard": 16, "batch_size": 7, **settings})  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt), writer:
            assert writer.position is None, settings
            for batch in range(3):
                add(writer, batch)
            raise KeyboardInterrupt
        return writer

    begin()
    begin(batch_size=8)
    begin(shard=17)
    begin(header=HEADER.model_copy(update={"tokenizer_sha256": "cd" * 32}))
    scratch = begin().scratch
    shard = scratch / "codes-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    scratch = begin().scratch
    (scratch / "done.json").write_text("{half")
    with CodeWriter(tmp_path / "cache", HEADER, shard=16, batch_size=7) as writer:
        assert writer.position is None
        for batch in range(6):
            add(writer, batch)
    assert files(tmp_path / "cache") == expected


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with CodeWriter(tmp_path / "cache", HEADER) as one:
        add(one, 0)
        two = CodeWriter(tmp_path / "cache", HEADER)
        with pytest.raises(TokbenchError, match="another process is writing it"), two:
            pass
    assert (tmp_path / "cache" / "header.json").is_file()


def test_an_interrupted_pass_is_gone_on_with(tmp_path: Path, rq_tokenizer: Tokenizer) -> None:
    def make(folder: Path, stop: int | None = None) -> list[int]:
        images = open_images("photos", "train", image_size=16, flip=True, limit=20, seed=3)
        seen: list[int] = []

        def progress(done: int, total: int) -> None:
            seen.append(done)
            if done == stop:
                raise KeyboardInterrupt

        write_codes(rq_tokenizer, images, folder, source="x", batch_size=6, passes=2, latents=True, progress=progress)
        return seen

    assert make(tmp_path / "undisturbed" / "train") == [6, 12, 18, 20, 26, 32, 38, 40]
    for stop in (12, 20, 32):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "cache" / "train", stop)
    assert make(tmp_path / "cache" / "train") == [38, 40]
    assert files(tmp_path / "cache") == files(tmp_path / "undisturbed")


# The command in a process that kills itself when its eleventh batch has been encoded and ten are written.
_KILLED = """
import os, signal, sys
from tokbench.cli import main
from tokbench.codes.writer import CodeWriter
add, left = CodeWriter.add, 10
def counted(*args, **named):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return add(*args, **named)
CodeWriter.add = counted
sys.argv = {command!r}
main()
"""


def test_the_command_killed_goes_on_to_the_same_cache(forks: ForkServer, tmp_path: Path, rq_folder: Path) -> None:
    def arguments(out: Path) -> list[str]:
        options = ["--data", "photos", "--out", str(out), "--limit", "48", "--eval-limit", "4", "--batch-size", "2"]
        return [str(rq_folder), *options, "--cpu"]

    def run(out: Path) -> str:
        app = typer.Typer()
        app.command()(encode)
        return CliRunner().invoke(app, arguments(out), catch_exceptions=False).output

    assert forks.run(_KILLED.format(command=["tokbench", "encode", *arguments(tmp_path / "cache")])) == -9
    assert 0 < _batches(tmp_path / "cache") <= 10
    assert "train: 48 images" in run(tmp_path / "cache")
    run(tmp_path / "undisturbed")
    assert files(tmp_path / "cache") == files(tmp_path / "undisturbed")
    assert "train: 48 images, there already" in run(tmp_path / "cache")


def _batches(cache: Path) -> int:
    try:
        return json.loads((cache / ".train.part" / "done.json").read_text())["position"][1]
    except (OSError, ValueError):
        return 0
