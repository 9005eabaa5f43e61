"""The NLL of each position, and the position after which N images could be told apart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from test_pipeline import saved
from tiny_tokenizer import make_tokenizer
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.generator import ARConfig
from tokbench.data import open_images
from tokbench.generators import for_tokenizer
from tokbench.generators.cliff import cliff, cliff_value
from tokbench.generators.orders import order_of
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.rate import bits_by_position, model_bits
from tokbench.generators.record import held_out_codes, rate_metrics
from tokbench.results.store import Store


@pytest.mark.parametrize(("images", "size"), [(1_281_167, 16384), (50_000, 256), (4096, 64), (2, 2), (1025, 1024)])
def test_of_equally_likely_codes_it_is_the_papers_formula(images: int, size: int) -> None:
    formula = math.ceil(math.log2(images) / math.log2(size) - 1e-12)
    assert cliff([math.log2(size)] * 256, images) == formula
    assert cliff_value([1.0] * 256, [math.log2(size)] * 256, images, 5, "p").extra["of_equally_likely"] == formula


def test_it_comes_later_where_codes_are_predictable_and_may_not_come_at_all() -> None:
    assert cliff([1.0, 3.0, 3.0, 3.0], 2**7) == 3
    found = cliff_value([0.5] * 4, [1.0, 2.0, 4.0, 8.0], 2**7, 5, "p")
    assert found.value is None and found.note == "all codes of an image cost fewer than log2 of 128 images"
    assert found.extra == {"images": 128, "of_equally_likely": 3}


def test_positions_add_up_to_the_code_length_and_each_is_what_the_model_says(tmp_path: Path, rq_folder: Path) -> None:
    pair = Pipeline.load(saved(tmp_path / "g", "ar", rq_folder))
    images = open_images("photos", "eval", image_size=16, limit=6)
    codes, condition, data, _ = held_out_codes(pair.tokenizer, images, pair.generator.condition)
    each = bits_by_position(pair.generator, codes, condition, batch_size=4)  # type: ignore[arg-type]
    assert each.shape == (6, 16)
    torch.testing.assert_close(each.sum(1), model_bits(pair.generator, codes, condition))
    with torch.no_grad():
        logits = pair.generator.logits(codes, condition)  # type: ignore[operator]
    first = [x[:, 3].log_softmax(-1).gather(1, codes.flatten(1, 2)[:, 3, d, None]) for d, x in enumerate(logits)]
    torch.testing.assert_close(each[:, 3], -torch.cat(first, 1).double().sum(1) / math.log(2), rtol=1e-5, atol=1e-5)
    found = rate_metrics(
        pair.generator, pair.tokenizer, codes, condition, image_size=16, protocol=data.protocol, train_images=1000
    )
    assert found["nll_bits_per_code"].extra["by_position"] == pytest.approx(each.mean(0).tolist(), abs=1e-4)
    assert found["entropy_cliff"].value == cliff(each.mean(0).tolist(), 1000)


def test_what_positions_can_say_is_in_the_order_in_which_they_are_said() -> None:
    """The first of a spiral are the last of a codebook that grows along the rows."""
    tokenizer = make_tokenizer({"name": "vcq", "codebook_size": 64})
    settings = ARConfig(width=16, heads=2, layers=1, order="spiral-in")
    generator = for_tokenizer(settings, tokenizer, source="here", image_size=16)
    codes = tokenizer.encode(torch.rand(3, 3, 16, 16) * 2 - 1)
    found = rate_metrics(generator, tokenizer, codes, image_size=16, protocol="own", train_images=2**12)
    bits = [math.log2(size) for size in tokenizer.quantizer.position_sizes((4, 4))]
    spiral = [bits[place] for place in order_of("spiral-in", (4, 4)).tolist()]
    assert found["entropy_cliff"].extra["of_equally_likely"] == cliff(spiral, 2**12) == 3
    assert cliff(bits, 2**12) == 7 and found["fixed_bpp"].value == pytest.approx(math.fsum(bits) / 256)


def test_the_command_measures_cliff_and_histograms_and_draws_the_positions(tmp_path: Path, rq_folder: Path) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder)
    out = ["--out", str(tmp_path / "runs.jsonl"), "--cpu"]
    asked = ["--data", "photos", "--limit", "8", "-n", "5", "--train-images", "4096", "--metrics", "chd"]
    done = CliRunner().invoke(app, ["evaluate-generator", str(generator), *asked, *out])
    assert done.exit_code == 0, done.output
    (record,) = Store(tmp_path / "runs.jsonl").read()
    distance = record.metrics["chd"]
    assert (
        distance.n == 5 and distance.value is not None and 0 < distance.value <= 1 and len(distance.by_depth or ()) == 2
    )
    assert record.plain()["metrics"]["entropy_cliff"]["images"] == 4096
    assert len(record.plain()["metrics"]["nll_bits_per_code"]["by_position"]) == 16
    figure = tmp_path / "positions.svg"
    drawn = CliRunner().invoke(app, ["plot", "positions", str(tmp_path / "runs.jsonl"), "-o", str(figure)])
    assert drawn.exit_code == 0 and figure.stat().st_size > 1000
    wrong = CliRunner().invoke(app, ["plot", "positions", str(tmp_path / "runs.jsonl"), "--metric", "psnr"])
    assert "takes no --metric" in str(wrong.exception)
