"""Generators of codes that are no map, from the command line: drawn, or one line where only a map makes sense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy_architectures  # noqa: F401  (registers them)
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.generators import for_tokenizer
from tokbench.models import Tokenizer


@pytest.mark.parametrize(
    ("name", "size", "drawn"), [("toy-line", (16, 24), (24, 16)), ("toy-clip", (5, 16, 24), (5 * 24, 16))]
)
@pytest.mark.parametrize("kind", [ARConfig, MLMConfig])
def test_codes_that_are_no_map_are_drawn(
    kind: type[ARConfig | MLMConfig], name: str, size: tuple[int, ...], drawn: tuple[int, int], tmp_path: Path
) -> None:
    quantizer = {"name": "rq", "codebook_size": 8, "depth": 2}
    config = {"image_size": size, "model": {"architecture": name}, "quantizer": quantizer}
    tokenizer = Tokenizer(TokenizerConfig.model_validate(config))
    tokenizer.save_pretrained(tmp_path / "t")
    torch.manual_seed(0)
    settings = kind(width=24, heads=2, layers=1, positions="rotary")
    for_tokenizer(settings, tokenizer, source=str(tmp_path / "t"), image_size=size).save_pretrained(tmp_path / "g")
    picture, g = tmp_path / "p.png", str(tmp_path / "g")
    Image.new("RGB", (40, 30)).save(picture)

    def run(*arguments: str) -> BaseException | None:
        return CliRunner().invoke(app, [*arguments, "--cpu"]).exception

    assert run("generate", g, "-n", "2", "--steps", "2", "--out", str(tmp_path / "out")) is None
    assert Image.open(tmp_path / "out" / "000001.png").size == drawn  # frames side by side
    refused = run("generate", g, "--out", str(tmp_path / "x"), "--image", str(picture))
    assert isinstance(refused, TokbenchError) and "needs codes in rows and columns" in str(refused)
    refused = run("compress", str(picture), "-o", str(tmp_path / "x.tokb"), "--generator", g)
    assert isinstance(refused, TokbenchError) and f"a map of codes; {name} does not" in str(refused)
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.tokb").exists()
