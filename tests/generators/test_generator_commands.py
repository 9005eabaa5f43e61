"""The commands, as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.compress import compress
from tokbench.cli.decompress import decompress
from tokbench.cli.encode import encode
from tokbench.cli.evaluate_generator import evaluate_generator
from tokbench.cli.export import export
from tokbench.cli.generate import generate
from tokbench.codes.cache import CodeCache
from tokbench.config.generator import ARConfig
from tokbench.errors import TokbenchError
from tokbench.generators import for_tokenizer
from tokbench.models import Tokenizer
from tokbench.results.store import Store


def outcome(command: Callable[..., None], *arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def call(command: Callable[..., None], *arguments: object) -> str:
    result = outcome(command, *arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_encode_generate_compress_decompress(tmp_path: Path, rq_tokenizer: Tokenizer, rq_folder: Path) -> None:
    cache = tmp_path / "cache"
    call(
        encode, rq_folder, "--data", "photos", "--out", cache, "--limit", 12, "--eval-limit", 6, "--passes", 2, "--cpu"
    )
    train = CodeCache(cache, "train")
    assert len(train) == 24 and len(CodeCache(cache, "eval")) == 6
    first, second = train.read(list(range(12)))["codes"], train.read(list(range(12, 24)))["codes"]
    assert not torch.equal(first, second)  # other crops in the second pass
    with pytest.raises(TokbenchError, match="exists already"):
        call(encode, rq_folder, "--data", "photos", "--out", cache, "--cpu")
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    with pytest.raises(TokbenchError, match="pictures/train: exists already and is not a code cache; choose"):
        call(encode, rq_folder, "--data", "photos", "--out", tmp_path / "pictures", "--cpu")

    settings = ARConfig(width=16, heads=2, layers=1, depth_layers=1)
    torch.manual_seed(0)
    made = for_tokenizer(settings, rq_tokenizer, source=str(rq_folder), image_size=16)
    made.save_pretrained(tmp_path / "g")
    call(generate, tmp_path / "g", "-n", 3, "--out", tmp_path / "drawn", "--cpu")
    assert Image.open(tmp_path / "drawn" / "000002.png").size == (16, 16)
    with pytest.raises(TokbenchError, match="guidance needs a class-conditional"):
        call(generate, tmp_path / "g", "-n", 3, "--out", tmp_path / "x", "--guidance", 3, "--cpu")
    with pytest.raises(TokbenchError, match="a generator, and tokenizers alone are exported"):
        call(export, tmp_path / "g", "--to", "taming", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(TokbenchError, match="top_p 2.0"):
        call(generate, tmp_path / "g", "--out", tmp_path / "x", "--top-p", 2, "--cpu")
    ended = outcome(generate, rq_folder, "--out", tmp_path / "x", "--cpu")
    assert isinstance(ended.exception, TokbenchError) and ended.output == ""  # no bar before a mistake

    call(
        evaluate_generator, tmp_path / "g", "--data", "photos", "--limit", 8, "-n", 4, "--top-k", 3,
        "--out", tmp_path / "runs.jsonl", "--cpu",
    )  # fmt: skip
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.kind == "generator" and record.data is not None and record.data.n == 8
    assert (record.recipe["evaluation"]["top_k"], record.recipe["evaluation"]["samples"]) == (3, 4)  # as measured
    bits = record.metrics["nll_bits_per_code"]
    assert bits.value is not None and 3 < bits.value < 6  # an untrained model of 16 codes
    with pytest.raises(TokbenchError, match="none.npz: no such file"):
        call(evaluate_generator, tmp_path / "g", "--data", "photos", "--reference", tmp_path / "none.npz", "--cpu")
    with pytest.raises(TokbenchError, match="guidance needs"):
        call(evaluate_generator, tmp_path / "g", "--data", "photos", "--guidance", 2, "--cpu")

    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 32, 3), dtype=np.uint8)).save(picture)
    results = []
    for under in (["--generator", tmp_path / "g"], ["--histogram", cache, "--tokenizer", rq_folder]):
        printed = call(compress, picture, "-o", tmp_path / "p.tokb", *under, "--cpu")
        assert "predicted by the model" in printed
        call(decompress, tmp_path / "p.tokb", "-o", tmp_path / "back.png", *under, "--cpu")
        results.append(np.array(Image.open(tmp_path / "back.png")))
    assert results[0].shape == (48, 32, 3) and np.array_equal(*results)
    with pytest.raises(TokbenchError, match="give either"):
        call(compress, picture, "-o", tmp_path / "p.tokb", "--cpu")
