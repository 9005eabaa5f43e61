"""Generators with their tokenizers: images on disk, completion, the record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tokenizer import make_tokenizer

from tokbench.cli.generating import Settings, generate_files
from tokbench.config.generator import ARConfig, MLMConfig, PixelSNAILConfig
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, Sampling, for_tokenizer
from tokbench.generators.embedding import code_vectors
from tokbench.generators.pipeline import Pipeline, batches_of, keep_mask
from tokbench.generators.record import generator_record, held_out_codes, rate_metrics
from tokbench.models import Tokenizer
from tokbench.results.record import decode

TINY = {"width": 16, "heads": 2, "layers": 1}


def saved(folder: Path, name: str, rq_folder: Path, classes: int = 0) -> str:
    torch.manual_seed(0)
    kind = {"ar": ARConfig, "mlm": MLMConfig, "pixelsnail": PixelSNAILConfig}[name]
    settings = kind.model_validate({**TINY, "class_conditional": classes > 0})
    tokenizer = Tokenizer.from_pretrained(rq_folder)
    made = for_tokenizer(settings, tokenizer, source=str(rq_folder), image_size=16, num_classes=classes)
    made.save_pretrained(folder)
    return str(folder)


def settings(generator: str, **changes: object) -> Settings:
    values = {
        "generator": generator, "tokenizer": None, "classes": (), "seed": 0, "sampling": Sampling(), "image": None,
        "keep": "top:0.5", "precision": "auto",
    }  # fmt: skip
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("0*.png"))}


@pytest.mark.parametrize("name", ["ar", "mlm", "pixelsnail"])
def test_drawing_continues_to_the_same_bits(tmp_path: Path, rq_folder: Path, name: str) -> None:
    generator = saved(tmp_path / "g", name, rq_folder, classes=3)
    assert generate_files(settings(generator), 7, tmp_path / "a", batch_size=3) == 7
    whole = pictures(tmp_path / "a")
    assert len(whole) == 7 and Image.open(tmp_path / "a" / "000006.png").size == (16, 16)
    assert (tmp_path / "a" / "grid.png").exists()

    for number in (1, 2, 6):  # one batch half there, one not begun
        (tmp_path / "a" / f"{number:06d}.png").unlink()
    assert generate_files(settings(generator), 7, tmp_path / "a", batch_size=3) == 3
    assert pictures(tmp_path / "a") == whole
    with pytest.raises(TokbenchError, match=r"drawn otherwise \(seed differ\)"):
        generate_files(settings(generator, seed=1), 7, tmp_path / "a")


def test_a_completion_continues_to_the_same_bits(tmp_path: Path, rq_folder: Path) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder, classes=3)
    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(picture)
    generate_files(settings(generator, image=picture), 5, tmp_path / "out", batch_size=2)
    whole = pictures(tmp_path / "out")
    for number in (0, 4):
        (tmp_path / "out" / f"{number:06d}.png").unlink()
    assert generate_files(settings(generator, image=picture), 5, tmp_path / "out", batch_size=2) == 2
    assert pictures(tmp_path / "out") == whole


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_images_do_not_depend_on_the_batch(tmp_path: Path, rq_folder: Path, name: str) -> None:
    """The codes exactly; a pixel by one level, where kernels of another shape round otherwise (AVX2, AVX-512)."""
    pair = Pipeline.load(saved(tmp_path / "g", name, rq_folder, classes=3))
    codes = {size: _codes(pair, size) for size in (1, 3, 7)}
    assert torch.equal(codes[1], codes[7]) and torch.equal(codes[3], codes[7])
    images = {size: torch.cat([x for _, x in pair.stream(range(7), batch_size=size)]) for size in (3, 7)}
    assert images[3].shape == (7, 3, 16, 16)
    assert int((images[3].int() - images[7].int()).abs().max()) <= 1


def _codes(pair: Pipeline, size: int) -> torch.Tensor:
    drawn = []
    for first, wanted in batches_of(range(7), size):
        labels = [number % 3 for number in range(first, first + size)]
        drawn.append(pair.generator.generate(size, condition=labels, first=first)[: len(wanted)])
    return torch.cat(drawn)


def test_completion_keeps_the_top_of_a_picture(tmp_path: Path, rq_folder: Path) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder)
    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(picture)
    assert generate_files(settings(generator, image=picture), 3, tmp_path / "out", batch_size=2) == 3
    assert len(set(pictures(tmp_path / "out").values())) == 3
    with pytest.raises(TokbenchError, match="raster order"):
        generate_files(settings(generator, image=picture, keep="left"), 3, tmp_path / "left")


def test_masks_say_what_is_kept() -> None:
    assert keep_mask("top:0.25", (4, 6)).sum() == 6 and keep_mask("top:0.25", (4, 6))[0].all()
    assert keep_mask("right", (4, 6))[:, 3:].all() and keep_mask("right", (4, 6)).sum() == 12
    inside = keep_mask("inside:0.5", (4, 4))
    assert inside[1:3, 1:3].all() and inside.sum() == 4
    assert torch.equal(keep_mask("outside:0.5", (4, 4)), ~inside)
    for wrong in ("middle", "top:2", "top:x", "top:0"):
        with pytest.raises(TokbenchError, match="--keep"):
            keep_mask(wrong, (4, 4))


def test_a_generator_goes_with_its_own_tokenizer_only(tmp_path: Path, rq_folder: Path) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder)
    other = make_tokenizer({"name": "rq", "codebook_size": 16, "depth": 2}, seed=3)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(TokbenchError, match="not the tokenizer of this generator"):
        Pipeline.load(generator, str(tmp_path / "other"))
    make_tokenizer({"name": "vq", "codebook_size": 16}).save_pretrained(tmp_path / "vq")
    with pytest.raises(TokbenchError, match=r"vocabularies \[16\], the generator's \[16, 16\]"):
        Pipeline.load(generator, str(tmp_path / "vq"))
    with pytest.raises(TokbenchError, match="a tokenizer, not a generator"):
        Generator.from_pretrained(rq_folder)
    with pytest.raises(TokbenchError, match="a generator, not a tokenizer"):
        Tokenizer.from_pretrained(generator)
    with pytest.raises(TokbenchError, match="unconditional"):
        list(Pipeline.load(generator).stream([0], conditions=[1]))


def test_code_vectors_sum_to_what_the_tokenizer_decodes() -> None:
    for quantizer in (
        {"name": "rq", "codebook_size": 16, "depth": 3},
        {"name": "rq", "codebook_size": 16, "depth": 2, "codebook_dim": 4},
        {"name": "lfq", "codebook_size": 64, "factor_bits": [2, 4]},
        {"name": "lfq", "codebook_size": 64},
    ):
        q = make_tokenizer({**quantizer}).quantizer if "codebook_dim" not in quantizer else _projected(quantizer)
        tables = code_vectors(q)
        codes = torch.stack([torch.randint(k, (50,)) for k in q.subcode_sizes], dim=-1)
        total = torch.stack([table[codes[:, d]] for d, table in enumerate(tables)]).sum(0)
        expected = q.embed(q.join(codes)).sum(-2)
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


def _projected(quantizer: dict[str, object]) -> torch.nn.Module:
    import quantizers

    torch.manual_seed(0)
    options = {k: v for k, v in quantizer.items() if k != "name"}
    return quantizers.build("rq", dim=6, channel_first=True, **options).eval()


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_the_record_holds_the_rates_side_by_side(tmp_path: Path, rq_folder: Path, name: str) -> None:
    pair = Pipeline.load(saved(tmp_path / "g", name, rq_folder))
    images = open_images("photos", "eval", image_size=16, limit=12)
    codes, labels, data, _ = held_out_codes(pair.tokenizer, images, pair.generator.condition)
    metrics = rate_metrics(
        pair.generator, pair.tokenizer, codes, labels, image_size=16, protocol=data.protocol, batch_size=5
    )
    record = generator_record(
        pair.generator, pair.tokenizer, metrics, name="x", recipe={"a": 1}, cell="c", seed=0, data=data
    )
    bound = "" if name == "ar" else "_bound"
    assert set(metrics) == {f"nll{bound}_bits_per_code", f"model{bound}_bpp", "entropy_bpp", "fixed_bpp"}
    assert record.kind == "generator" and record.rate is not None and record.data == data
    assert metrics["fixed_bpp"].value == pytest.approx(record.rate.bits_per_pixel) == pytest.approx(0.5)
    assert metrics["entropy_bpp"].value < metrics["fixed_bpp"].value
    model, nll = metrics[f"model{bound}_bpp"].value, metrics[f"nll{bound}_bits_per_code"].value
    assert model is not None and nll is not None and model == pytest.approx(nll * 32 / 256)
    assert decode(record.line) == record


def test_a_class_that_does_not_exist_is_refused_before_anything_is_drawn(tmp_path: Path, rq_folder: Path) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder, classes=3)
    with pytest.raises(TokbenchError, match="class 7 does not exist"):
        generate_files(settings(generator, classes=(0, 1, 7)), 3, tmp_path / "out", batch_size=1)
    assert not pictures(tmp_path / "out")


def test_larger_images_are_drawn_and_continued_and_completed(tmp_path: Path, rq_folder: Path) -> None:
    """By a window that slides; what was drawn says the size."""
    generator = saved(tmp_path / "g", "ar", rq_folder, classes=3)
    large = settings(generator, size=(20, 32))
    assert generate_files(large, 5, tmp_path / "a", batch_size=2) == 5
    whole = pictures(tmp_path / "a")
    assert Image.open(tmp_path / "a" / "000004.png").size == (32, 20)
    assert json.loads((tmp_path / "a" / "settings.json").read_text())["size"] == "20x32"
    for number in (0, 3):
        (tmp_path / "a" / f"{number:06d}.png").unlink()
    assert generate_files(large, 5, tmp_path / "a", batch_size=2) == 2 and pictures(tmp_path / "a") == whole
    with pytest.raises(TokbenchError, match=r"drawn otherwise \(size differ\)"):
        generate_files(settings(generator), 5, tmp_path / "a")

    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 32, 3), dtype=np.uint8)).save(picture)
    generate_files(settings(generator, size=(20, 32), image=picture), 2, tmp_path / "b")
    assert (
        Image.open(tmp_path / "b" / "000001.png").size == (32, 20) and len(set(pictures(tmp_path / "b").values())) == 2
    )
    wrong = {18: "--size 18 is not a multiple", 8: "2x2 codes are fewer than the 4x4", (17, 16, 16): "is a clip's"}
    for size, said in wrong.items():
        with pytest.raises(TokbenchError, match=said):
            generate_files(settings(generator, size=size), 1, tmp_path / "c")
    with pytest.raises(TokbenchError, match="mlm fills in"):
        generate_files(settings(saved(tmp_path / "m", "mlm", rq_folder), size=32), 1, tmp_path / "c")
    assert not (tmp_path / "c" / "settings.json").exists()
