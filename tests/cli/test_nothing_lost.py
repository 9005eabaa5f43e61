"""No command writes over what it reads, works for nothing, or ends without a word."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from recipes_tiny import TINY
from typer.testing import CliRunner, Result

from tokbench.cli.app import app
from tokbench.config.loading import load_recipe
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.results.store import Store


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tokenizer")
    recipe = load_recipe("demo", [*TINY, "quantizer.codebook_size=16"])
    config = TokenizerConfig(image_size=16, model=recipe.model, quantizer=recipe.quantizer)  # type: ignore[union-attr]
    Tokenizer(config).save_pretrained(folder)
    return folder


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = typed(*arguments)
    assert isinstance(result.exception, TokbenchError), result.output
    return str(result.exception)


def picture(path: Path, colour: int = 80) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (colour, 20, 30)).save(path)
    return path.read_bytes()


def test_reconstruct_leaves_the_originals(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "in" / "my.png"
    before = picture(mine)
    beside = tmp_path / "in" / "side-by-side" / "my.png"
    picture(beside)
    monkeypatch.chdir(mine.parent)
    for images, out in ((["my.png"], "."), ([tmp_path / "in"], tmp_path / "in"), ([beside, mine], "../in")):
        assert "would be written over" in refused("reconstruct", tokenizer, *images, "--out", out, "--cpu")
    assert mine.read_bytes() == before and sorted(os.listdir()) == ["my.png", "side-by-side"]


def test_reconstructions_of_equal_names_are_all_there(tokenizer: Path, tmp_path: Path) -> None:
    for number, name in enumerate(["a/x.png", "b/x.png", "b/X.png", "b/x.bmp"]):
        picture(tmp_path / name, 40 * number)
    out = tmp_path / "out"
    given = [tmp_path / "a" / "x.png", tmp_path / "b", tmp_path / "b" / ".." / "a" / "x.png"]
    typed("reconstruct", tokenizer, *given, "--out", out, "--cpu")
    names = [path.name for path in out.glob("*.png")]
    assert len({name.casefold() for name in names}) == len(list((out / "side-by-side").iterdir())) == 4


def test_compress_and_decompress_leave_their_inputs(tokenizer: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    typed("encode", tokenizer, "--data", "photos", "--out", codes, "--limit", 4, "--eval-limit", 2, "--cpu")
    mine = tmp_path / "my.png"
    before = picture(mine)
    with_codes = ["--histogram", codes, "--tokenizer", tokenizer, "--cpu"]
    for out in (mine, tokenizer / "model.safetensors", codes / "train" / "labels.bin"):
        if out.exists():
            assert "would be written over" in refused("compress", mine, "-o", out, *with_codes)
    assert mine.read_bytes() == before
    file = tmp_path / "my.tokb"
    assert typed("compress", mine, "-o", file, *with_codes).exit_code == 0
    assert "would be written over" in refused("decompress", file, "-o", file, *with_codes)


def test_evaluate_finds_out_first_and_shows_the_numbers_whatever_happens(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    asked = ["evaluate", tokenizer, "--data", "photos", "--limit", 2, "--metrics", "psnr", "--cpu", "--out"]
    assert "cannot be written" in refused(*asked, tmp_path / "file")

    def full(store: Store, record: object) -> None:
        raise TokbenchError(f"{store.path}: cannot append a record: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(Store, "append", full)
    result = typed(*asked, tmp_path)
    assert "No space left" in str(result.exception)
    assert "PSNR" in result.output and '"psnr":{"value":' in result.output
    assert typed(*asked, tmp_path, "--json").stdout.count('"psnr":{"value":') == 1


def test_a_folder_of_own_files_is_not_imported_into(tokenizer: Path, tmp_path: Path) -> None:
    picture(tmp_path / "new" / "grid.png")
    assert "not empty" in refused("import", "taming", tokenizer / "model.safetensors", "--out", tmp_path / "new")
    refused("import", "taming", tmp_path / "no.ckpt", "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_weights_are_saved_for_everybody_the_umask_lets_in(tokenizer: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in tokenizer.iterdir()}
    before = os.umask(0)
    os.umask(before)
    assert modes == {0o666 & ~before}


def test_weights_that_may_not_be_read_are_not_called_damaged(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def denied(path: Path, *how: str, **more: object) -> object:
        if path.name == "model.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *how, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(TokbenchError, match=r"model\.safetensors: cannot be read: Permission denied"):
        Tokenizer.from_pretrained(tokenizer)


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "interr")])
def test_a_signal_is_answered(tmp_path: Path, number: signal.Signals, code: int, said: str) -> None:
    os.mkfifo(tmp_path / "runs.jsonl")  # nobody ever writes into it
    command = [sys.executable, "-m", "tokbench", "table", str(tmp_path / "runs.jsonl")]
    # A shell's background job begins with SIGINT ignored, and hands that on.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        writing = os.open(tmp_path / "runs.jsonl", os.O_WRONLY)  # returns when the command has opened it to read
        time.sleep(0.2)
        process.send_signal(number)
        told = process.communicate(timeout=600)[1]
        os.close(writing)
    assert process.returncode == code and said in told and "Traceback" not in told
