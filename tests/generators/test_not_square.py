"""Images that are not square through everything a generator does: codes, training, drawing, measuring, compressing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tokenizer import make_tokenizer
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.codes.cache import CodeCache
from tokbench.config.generator import ARConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, for_tokenizer
from tokbench.generators.compression import Codec
from tokbench.generators.pipeline import Pipeline
from tokbench.results.store import Store


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments), "--cpu"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["ar", "mlm", pytest.param("pixelsnail", marks=pytest.mark.slow)])
def test_a_generator_of_images_that_are_not_square(name: str, rq_folder: Path, tmp_path: Path) -> None:
    limits = ("--limit", 12, "--eval-limit", 6)
    said = run("encode", rq_folder, "--data", "photos", "--image-size", "16x24", "--out", tmp_path / "codes", *limits)
    assert "data.image_size=16x24" in said
    header = CodeCache(tmp_path / "codes", "train").header
    assert header.shape == (4, 6, 2) and header.image_size == (16, 24)
    settings = [
        f"data.source=codes:{tmp_path / 'codes'}", "data.image_size=16x24", f"tokenizer={rq_folder}",
        "generator.width=16", "generator.heads=2", "generator.layers=1",
        "generator.hidden=8" if name == "pixelsnail" else "generator.positions=rotary",
        "training.steps=2", "training.batch_size=4", "training.warmup_steps=1", "training.picture_every=2",
        "training.log_every=1",
    ]  # fmt: skip
    run("train", f"generators/demo-{name}", "--out", tmp_path / "run", *(x for s in settings for x in ("--set", s)))
    folder = tmp_path / "run" / "generator"
    assert Pipeline.load(folder).image_size == (16, 24) and Generator.from_pretrained(folder).grid == (4, 6)

    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(picture)
    for out, more in (("drawn", ()), ("completed", ("--image", picture))):
        run("generate", folder, "-n", 2, "--steps", 2, "--out", tmp_path / out, *more)
        assert Image.open(tmp_path / out / "000001.png").size == (24, 16)
    run("evaluate-generator", folder, "--data", "photos", "--limit", 4, "-n", 4, "--out", tmp_path / "runs.jsonl")
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.rate is not None and record.rate.tokens == [4, 6, 2] and record.model["image_size"] == [16, 24]
    fixed = record.metrics["fixed_bpp"].value
    assert fixed == pytest.approx(record.rate.bits_per_pixel) == pytest.approx(24 * 8 / (16 * 24))


def test_tiles_need_not_be_square(tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"name": "vq", "codebook_size": 40})
    torch.manual_seed(0)
    settings = ARConfig(width=16, heads=2, layers=1, depth_layers=0)
    codec = Codec(tokenizer, for_tokenizer(settings, tokenizer, source="here", image_size=(8, 24)).eval())
    image = torch.rand(1, 3, 19, 50) * 2 - 1
    codec.write(image, tmp_path / "x.tokb")
    codes, size = codec.read_codes(tmp_path / "x.tokb")
    assert codes.shape == (1, 6, 18, 1) and size == (19, 50)  # three tiles of 2x6 codes down, three across
    assert torch.equal(codes, codec.encode(image)) and codec.read(tmp_path / "x.tokb").shape == image.shape


def test_a_size_that_makes_other_codes_is_one_line(rq_folder: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer({"name": "rq", "codebook_size": 16, "depth": 2})
    settings = ARConfig(width=16, heads=2, layers=1)
    with pytest.raises(
        TokbenchError, match="here: data.image_size 16x25 is not a multiple of .*; nearest: 16x24, 16x28"
    ):
        for_tokenizer(settings, tokenizer, source="here", image_size=(16, 25))
    made = for_tokenizer(settings, tokenizer, source=str(rq_folder), image_size=(16, 24))
    made.save_pretrained(tmp_path / "g")
    config = tmp_path / "g" / "config.json"
    for size, said in ((24, "24x24 are 6x6 codes, the generator's are 4x6"), (25, "the generator's image_size 25")):
        written = made.config.model_copy(
            update={"tokenizer": made.config.tokenizer.model_copy(update={"image_size": size})}
        )
        config.write_text(written.model_dump_json())
        with pytest.raises(TokbenchError, match=said):
            Pipeline.load(tmp_path / "g")
