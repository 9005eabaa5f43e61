"""Captions of images through training, evaluation and drawing; their tokens are the official ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.codes.cache import CodeCache
from tokbench.config.condition import TextConfig
from tokbench.config.data import DataConfig
from tokbench.config.generator import ARConfig, GeneratorConfig, GeneratorRecipe
from tokbench.data import loader, open_images, read_image, to_float
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.texts import TextTokenizer
from tokbench.models import Tokenizer
from tokbench.training.checks import check_recipe
from tokbench.training.dry_run import check_run
from tokbench.training.generator_evaluation import evaluate_generator
from tokbench.training.loop import make_accelerator, train

tokenizers = pytest.importorskip("tokenizers")
COLOURS = {"red square": (255, 0, 0), "blue square": (0, 0, 255), "white paper": (255, 255, 255), "night": (0, 0, 0)}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text tokenizer of whole words, without padding of its own."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(COLOURS, trainer)
    file = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made.save(str(file))
    return file


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioned")
    for split in ("train", "val"):
        (folder / split).mkdir()
        for number, (text, colour) in enumerate(COLOURS.items()):
            for copy in range(2):
                image = folder / split / f"{number}{copy}.png"
                Image.new("RGB", (16, 16), colour).save(image)
                image.with_suffix(".txt").write_text(f"{text}\n")
    return folder


def recipe_of(captioned: Path, words: Path, tokenizer: Path, text: dict[str, Any], **settings: Any) -> GeneratorRecipe:
    return GeneratorRecipe.model_validate(
        {
            "name": "test",
            "tokenizer": str(tokenizer),
            "data": {"source": f"folder:{captioned}", "image_size": 16},
            "generator": {
                "name": "ar", "width": 32, "heads": 2, "layers": 2, "depth_layers": 1,
                "text": {"tokenizer": str(words), "length": 3, **text},
            },
            "training": {
                "steps": 120, "batch_size": 8, "learning_rate": 5e-3, "log_every": 60, "picture_every": 60,
                "checkpoint_every": 0,
            },
            **settings,
        }
    )  # fmt: skip


def test_what_is_asked_for_is_drawn(
    captioned: Path, words: Path, rq_folder: Path, rq_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    recipe = recipe_of(captioned, words, rq_folder, {})
    check_run(recipe, tmp_path / "run", cpu=True)
    train(recipe, tmp_path / "run", accelerator=make_accelerator(recipe, cpu=True), quiet=True)
    folder = tmp_path / "run" / "generator"
    made = Generator.from_pretrained(folder)
    names = list(COLOURS)
    images = torch.tensor([COLOURS[name] for name in names], dtype=torch.uint8)[..., None, None].expand(-1, 3, 16, 16)
    with torch.no_grad():
        expected = rq_tokenizer.quantizer.subcodes(rq_tokenizer.encode(to_float(images)))
    assert torch.equal(made.generate(4, condition=names, temperature=0), expected)
    told = ["--text", "night", "--text", "red square", "--temperature", "0", "-n", "2", "--cpu"]
    drawn = CliRunner().invoke(app, ["generate", str(folder), "--out", str(tmp_path / "drawn"), *told])
    assert drawn.exit_code == 0, drawn.output
    seen = torch.stack([torch.as_tensor(read_image(tmp_path / "drawn" / f"00000{i}.png", 3)) for i in range(2)])
    pair = Pipeline.load(folder)
    assert torch.equal(seen, pair.decode(expected[[3, 0]]))
    assert json.loads((tmp_path / "drawn" / "settings.json").read_text())["texts"] == ["night", "red square"]
    config = recipe.evaluation.model_copy(update={"metrics": [], "samples": 4})
    held_out = open_images(f"folder:{captioned}", "eval", image_size=16)
    found = evaluate_generator(pair, held_out, config=config, seed=0)
    assert found.metrics["nll_bits_per_code"].value < 0.2


def test_captions_go_with_their_images_and_missing_ones_are_named(captioned: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for file in (captioned / split).iterdir():
            (tmp_path / split / file.name).write_bytes(file.read_bytes())
    (tmp_path / "val" / "00.txt").unlink()
    (tmp_path / "val" / "10.txt").write_text(" \n")
    (tmp_path / "val" / "20.txt").write_bytes(b"\xff\xfe")
    images = open_images(f"folder:{tmp_path}", "eval", image_size=16)
    before = images.fingerprint
    images.read_captions()
    batch = next(iter(loader(images, batch_size=8, shuffle=True, seed=0)))
    colours = [tuple(int(v) for v in image[:, 0, 0]) for image in batch["image"]]
    assert len(colours) == 5 and colours == [COLOURS[text] for text in batch["text"]]
    assert [(Path(name).name, reason) for name, reason in images.skipped] == [
        ("00.png", "no caption"), ("10.png", "no caption"), ("20.png", "its caption 20.txt: is not UTF-8"),
    ]  # fmt: skip
    assert images.fingerprint != before
    (tmp_path / "val" / "01.txt").write_text("another")
    again = open_images(f"folder:{tmp_path}", "eval", image_size=16)
    again.read_captions()
    assert again.fingerprint != images.fingerprint


def test_captions_of_a_table(captioned: Path, tmp_path: Path) -> None:
    import datasets

    files = sorted((captioned / "train").glob("*.png"))
    rows = {
        "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "caption": [file.with_suffix(".txt").read_text() if file != files[0] else None for file in files],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "train-0.parquet")
    images = open_images(f"parquet:train={tmp_path}/train-0.parquet", "train", image_size=16)
    images.read_captions()
    assert len(images) == len(files) - 1 and images.skipped[-1][1] == "no caption"
    found = images.sample(2)
    assert COLOURS[found["text"]] == tuple(int(v) for v in found["image"][:, 0, 0])


def test_a_cache_of_codes_has_the_captions_of_its_images(
    captioned: Path, words: Path, rq_folder: Path, tmp_path: Path
) -> None:
    def encoded(name: str, *more: str) -> str:
        command = ["encode", str(rq_folder), "--data", f"folder:{captioned}", "--out", str(tmp_path / name), "--cpu"]
        found = CliRunner().invoke(app, [*command, "--image-size", "16", *more])
        assert found.exit_code == 0, found.output
        return f"codes:{tmp_path / name}"

    source, bare = encoded("codes", "--captions", "--passes", "2"), encoded("bare")
    recipe = recipe_of(captioned, words, rq_folder, {}, data={"source": source, "image_size": 16})
    short = {**recipe.training.model_dump(), "steps": 2, "warmup_steps": 1}
    recipe = GeneratorRecipe.model_validate({**recipe.model_dump(), "training": short})
    check_run(recipe, tmp_path / "run", cpu=True)
    assert train(recipe, tmp_path / "run", accelerator=make_accelerator(recipe, cpu=True), quiet=True).finished
    cache = CodeCache(tmp_path / "codes", "train")
    assert "text" not in cache.read([0])
    cache.read_captions()
    images = open_images(f"folder:{captioned}", "train", image_size=16)
    images.read_captions()
    assert images.captions is not None and cache.read([9, 2])["text"] == [images.captions[1], images.captions[2]]
    with pytest.raises(TokbenchError, match="holds no captions; encode images that have some with --captions"):
        check_run(recipe.model_copy(update={"data": DataConfig(source=bare, image_size=16)}), tmp_path / "x", cpu=True)
    file = tmp_path / "codes" / "train" / "captions.jsonl"
    for damaged in (file.read_text().partition("\n")[2], file.read_text().replace('"night"', "7"), "["):
        file.write_text(damaged)
        with pytest.raises(TokbenchError, match="captions.jsonl: not the captions of 16 images"):
            cache.read_captions()


def test_what_has_no_captions_is_one_line(captioned: Path, words: Path, rq_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for file in (captioned / "train").glob("*.png"):
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    bare = tmp_path / "bare"
    for source in (f"folder:train={bare},eval={bare}", "photos"):
        recipe = recipe_of(captioned, words, rq_folder, {}, data={"source": source, "image_size": 16})
        with pytest.raises(TokbenchError, match="no captions there: use images with .txt or .json files"):
            check_run(recipe, tmp_path / "out", cpu=True)


@pytest.mark.parametrize(
    ("definition", "said"),
    [(None, "not a text tokenizer"), ("{", "not a text tokenizer"), ("[1]", "not a text tokenizer")],
)
def test_what_is_not_a_text_tokenizer(tmp_path: Path, definition: str | None, said: str) -> None:
    file = tmp_path / "a-vocab.json"
    file.write_text(definition or "{}")  # without its merges
    other = tmp_path / "tokenizer.json"
    other.write_text(definition or "{}")
    for source in (file, other):
        with pytest.raises(TokbenchError, match=said) as error:
            TextTokenizer.read(str(source))
        assert "\n" not in str(error.value) and str(source) in str(error.value)


def with_words(words: Path, **more: Any) -> Generator:
    text = TextTokenizer.read(str(words))
    condition = TextConfig(
        length=3, vocabulary=text.vocabulary, pad=text.pad, tokenizer=text.definition, dropout=0.1, **more
    )
    settings = ARConfig(width=16, heads=2, layers=1, input="learned")
    return build(
        GeneratorConfig(generator=settings, shape=(2, 2, 2), vocabulary=(3, 3), conditioned_on=condition)
    ).eval()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("red red blue night", "has 4 tokens, the generator reads 3"),
        ("", "a text without words"),
        (["night", "  "], "a text without words"),
        (["night", 3], "a text is given as it is"),
        (["night", "red", "blue"], "for 2 images"),
    ],
)
def test_texts_that_cannot_be_drawn(words: Path, given: Any, said: str) -> None:
    with pytest.raises(TokbenchError, match=said) as error:
        with_words(words).generate(2, condition=given)
    assert "\n" not in str(error.value)


def test_a_text_is_its_ids_and_long_captions_are_cut(words: Path) -> None:
    model = with_words(words)
    condition: Any = model.condition
    ids = condition.check("red square", 2)
    assert ids.tolist()[0] == ids.tolist()[1] and int(ids[0, 2]) == condition.config.pad
    assert torch.equal(model.generate(2, condition="red square"), model.generate(2, condition=ids))
    cut = condition.of({"text": ["red square night blue", "unheard"]})
    assert cut.shape == (2, 3) and cut[1].tolist() == [0, condition.config.pad, condition.config.pad]


def test_ids_are_the_official_ones(golden_conditional: Path) -> None:
    folder = golden_conditional
    golden = json.loads((folder / "text_tokenizers.json").read_text("utf-8"))
    for name in ("bpe-16k", "bpe-30k"):
        of = golden["tokenizers"][f"{name.replace('-', '')}_huggingface"]
        text = TextTokenizer.read(str(folder / f"{name}-vocab.json"))
        assert (text.pad, text.vocabulary) == (of["pad_id"], of["vocabulary"])
        for made in (text, TextTokenizer(text.definition, "again")):
            assert made.ids(golden["sentences"], of["length"], cut=True).tolist() == of["padded_ids"]


def test_a_dry_run_counts_what_would_not_fit_in_memory(
    captioned: Path, words: Path, rq_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(captioned, words, rq_folder, {})
    large = recipe.generator.model_copy(update={"width": 32768, "layers": 60})  # 3 TB
    recipe = recipe.model_copy(update={"generator": large})
    check_run(recipe, tmp_path / "out", cpu=True)
    assert check_recipe(recipe) > 7e11
