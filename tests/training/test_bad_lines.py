"""What is read and written around a run when it is damaged, or the disk is full: one line that names the file."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from recipes_tiny import TINY

from tokbench.config.loading import draft_recipe
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError
from tokbench.pictures import save_picture
from tokbench.results.files import write
from tokbench.training.checkpoint import save_checkpoint
from tokbench.training.run_folder import claim
from tokbench.training.run_log import append_log, drop_log_after


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff\xfe", b"\x00\x01", b"[" * 5000, b"- a", b"x: " + b"9" * 5000])
def test_a_damaged_recipe_of_a_run_that_is_continued(tmp_path: Path, content: bytes) -> None:
    recipe = draft_recipe("demo").check()
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(TokbenchError, match=r"recipe\.yaml|differ") as caught:
        claim(tmp_path, recipe, resume=True, main=True)
    assert "\n" not in str(caught.value) and (tmp_path / "recipe.yaml").read_bytes() == content


def test_a_pipe_for_a_recipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(TokbenchError, match=r"recipe\.yaml: cannot be read as a recipe: is a pipe"):
        read_yaml(tmp_path / "recipe.yaml")


def test_a_log_with_numbers_without_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 1e999}\n' + '{"step": ' + "9" * 5000 + "}\n" + "[" * 100_000 + "\n")
    drop_log_after(path, 5)
    assert path.read_text() == '{"step": 1}\n'


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """No file can become larger than ``size`` bytes. Python would keep what it compiled of a module cut off there, and
    trust it ever after."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
        sys.dont_write_bytecode = writes


@pytest.mark.parametrize("what", ["checkpoint", "tokenizer", "export", "picture", "log", "file"])
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path, what: str) -> None:
    from tokbench.config.model import TokenizerConfig
    from tokbench.models import Tokenizer
    from tokbench.pretrained import export

    def tokenizer() -> Tokenizer:
        wide = ("channels=32", "norm_groups=32", "latent_channels=32", "middle_attention=true")  # as taming has them
        vq = "quantizer={name: vq, codebook_size: 16}"
        recipe = draft_recipe("demo", [*TINY, vq, *(f"model.{setting}" for setting in wide)]).check()
        parts = {"image_size": 16, "model": recipe.model, "quantizer": recipe.quantizer}  # type: ignore[union-attr]
        return Tokenizer(TokenizerConfig.model_validate(parts))

    place = tmp_path / "place"
    made = tokenizer() if what in ("tokenizer", "export") else None
    (tmp_path / "log.jsonl").write_text("x" * 990)

    def attempt() -> None:
        if what == "checkpoint":
            save_checkpoint(place, 3, {"x": torch.zeros(100_000)}, keep=1)
        elif made is not None and what == "tokenizer":
            made.save_pretrained(place)
        elif made is not None:
            export(made, "taming", place / "a.ckpt")
        elif what == "picture":
            from PIL import Image

            save_picture(Image.effect_noise((64, 64), 50), place / "a.png")
        elif what == "log":
            append_log(tmp_path / "log.jsonl", 1, 1.0, {"loss": 1.0})
        else:
            write(place / "a.txt", "x" * 2000)

    with full_disk(), pytest.raises(TokbenchError) as caught:
        attempt()
    said = str(caught.value)
    assert str(place if what != "log" else tmp_path / "log.jsonl") in said and "\n" not in said
    assert "inline_container" not in said and "None" not in said
    assert not [path for path in place.rglob("*") if path.is_file()]  # nothing half-written


def test_a_short_run_is_told_which_warm_up_fits() -> None:
    with pytest.raises(TokbenchError, match=r"also set training\.warmup_steps=3"):
        draft_recipe("demo", ["training.steps=30"]).check()
    assert draft_recipe("demo", ["training.steps=30", "training.warmup_steps=3"]).check().training.steps == 30
