"""Images and their depth maps, masks or other images: the same crop of both, and a generator trained on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from tiny_tokenizer import MODEL
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.codes.cache import CodeCache
from tokbench.config.data import DataConfig
from tokbench.config.generator import ARConfig, GeneratorEvaluationConfig, GeneratorRecipe
from tokbench.config.model import TokenizerConfig
from tokbench.data import loader, open_images, open_split, to_float
from tokbench.data.decode import UnreadableImage
from tokbench.errors import TokbenchError
from tokbench.generators import for_tokenizer
from tokbench.generators.building import codes_of, partner_codes
from tokbench.generators.pipeline import Pipeline
from tokbench.models import Tokenizer
from tokbench.training.generator_evaluation import evaluate_generator
from tokbench.training.loop import train


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of 20x30 of two halves, left and right of a border; depth and masks have the same border."""
    root = tmp_path_factory.mktemp("pairs")
    for name in ("images", "depth", "masks"):
        (root / name).mkdir()
    for k in range(24):
        at = 5 + k % 20
        half = np.zeros((20, 30), np.uint8)
        half[:, at:] = 1
        colours = np.array([[250, 10, 10], [10, 250, 10]], np.uint8)
        Image.fromarray(colours[half]).save(root / "images" / f"{k:02d}.png")
        np.save(root / "depth" / f"{k:02d}.npy", half.astype(np.float32) * 7 - 2)
        Image.fromarray(half * 4).save(root / "masks" / f"{k:02d}.png")
    return root


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained, of 3, 1 and 5 channels: images, depth, five labels."""
    root, made = tmp_path_factory.mktemp("tokenizers"), {}
    for channels, name in ((3, "images"), (1, "depth"), (5, "masks")):
        torch.manual_seed(channels)
        config = {
            "image_size": 16,
            "channels": channels,
            "model": MODEL,
            "quantizer": {"name": "vq", "codebook_size": 16},
        }
        Tokenizer(TokenizerConfig.model_validate(config)).save_pretrained(root / name)
        made[name] = root / name
    return made


def test_a_partner_that_changes_is_another_set(pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs, tmp_path / "pairs")
    images, masks = tmp_path / "pairs" / "images", tmp_path / "pairs" / "masks"

    def fingerprints(spec: str) -> list[str]:
        return [open_images(spec, split, image_size=16).fingerprint for split in ("train", "eval")]

    alone, paired = fingerprints(f"folder:{images}"), fingerprints(f"folder:{images},masks={masks}")
    assert fingerprints(f"folder:{images},masks={masks}") == paired
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(masks / "03.png")
    changed = fingerprints(f"folder:{images},masks={masks}")
    for one, other, third in zip(alone, paired, changed, strict=True):
        assert len({one, other, third}) == 3
    assert fingerprints(f"folder:{images}") == alone


def test_images_held_out_of_training_keep_their_partners(pairs: Path) -> None:
    source = f"folder:train={pairs}/images,masks={pairs}/masks"
    data = DataConfig(source=source, image_size=16, validation=0.25)
    for split, count in (("train", 18), ("eval", 6)):
        images: Any = open_split(data, split)  # type: ignore[arg-type]
        assert len(images) == count
        most = [int(images[k]["partner"].max()) for k in range(count)]
        assert set(most) <= {0, 4}
        images.label_count = 4
        with pytest.raises(UnreadableImage, match="labels beyond the 4"):
            images[most.index(4)]


@pytest.mark.parametrize("kind", ["depth", "masks", "images"])
def test_both_are_cropped_and_mirrored_alike(pairs: Path, kind: str) -> None:
    images = open_images(f"folder:{pairs}/images,{kind}={pairs}/{kind}", "train", image_size=16, flip=True, seed=3)
    images.label_count = 5
    batch: Any = next(iter(loader(images, batch_size=16, shuffle=True, seed=0)))
    green = batch["image"][:, 1].float()
    sure = (green < 60) | (green > 200)  # away from the border, which is blurred
    if kind == "images":
        assert torch.equal(batch["partner"], batch["image"])
        return
    values = batch["partner"][:, 0].float()
    right = values > (0 if kind == "depth" else 2)
    assert set(values.unique().tolist()) <= {0.0, 4.0} if kind == "masks" else values.min() == -1 and values.max() == 1
    assert float((right == (green > 128))[sure].float().mean()) > 0.99
    assert bool((right[:, :, 0] & ~right[:, :, -1]).any()) and bool((~right[:, :, 0] & right[:, :, -1]).any())


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("kind", ["depth", "masks", pytest.param("images", marks=pytest.mark.slow)])
def test_train_evaluate_and_generate_on_the_command_line(
    pairs: Path, tokenizers: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    source, out = f"folder:{pairs}/images,{kind}={pairs}/{kind}", tmp_path / "run"
    settings = {
        "name": "pairs", "tokenizer": str(tokenizers["images"]), "data": {"source": source, "image_size": 16},
        "condition": {"tokenizer": str(tokenizers[kind]), "dropout": 0.2},
        "generator": {"name": "ar", "width": 16, "heads": 2, "layers": 1},
        "training": {
            "steps": 4, "batch_size": 4, "warmup_steps": 1, "log_every": 2, "picture_every": 2, "checkpoint_every": 2,
        },
        "evaluation": {"metrics": [], "samples": 4},
    }  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"kind": "generator", **settings}))
    found = command("train", recipe, "--out", out, "--cpu")
    assert found.exit_code == 0, (found.output, found.exception)
    pair = Pipeline.load(out / "generator")
    assert pair.generator.config.conditioned_on.partner == kind
    assert pair.condition_tokenizer.sha256() == Tokenizer.from_pretrained(tokenizers[kind]).sha256()
    beside = pairs / kind / ("03.npy" if kind == "depth" else "03.png")
    drawn = command(
        "generate", out / "generator", "--condition", beside, "-n", 2, "--guidance", 2, "--out", tmp_path / "o", "--cpu"
    )
    assert drawn.exit_code == 0 and (tmp_path / "o" / "000001.png").is_file(), (drawn.output, drawn.exception)
    Image.fromarray(np.full((20, 30), 300, np.uint16)).save(tmp_path / "w.png")
    for wrong, said in (
        (["--condition", tmp_path / "n.png"], "n.png: no such file"),
        (["--text", "a"], "--text: the generator's condition is none of these but 4x4x1 codes of"),
        *([(["--condition", tmp_path / "w.png"], "w.png: label 300 is outside the 5")] if kind == "masks" else ()),
    ):
        refused = command("generate", out / "generator", *wrong, "--out", tmp_path / "no", "--cpu")
        assert refused.exit_code and said in str(refused.exception) and not (tmp_path / "no").exists()


def test_what_does_not_pair_is_counted_and_named(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for k in range(4):
        size = (30, 20) if k else (20, 20)
        Image.fromarray(np.full(size[::-1], 9 if k == 1 else 4, np.uint8)).save(tmp_path / "masks" / f"{k:02d}.png")
    source = f"folder:eval={pairs}/images,masks={tmp_path}/masks"
    with pytest.warns(Warning, match="images without masks: 20"):
        images = open_images(source, "eval", image_size=16)
    images.label_count = 5
    batch: Any = next(iter(loader(images, batch_size=4, shuffle=False, seed=0)))
    assert batch["id"] == ["02.png", "03.png"] and batch["partner"].shape == (2, 1, 16, 16)
    reasons = dict(images.skipped)
    assert reasons["00.png"] == "00.png is 20x20, the image 20x30 (height x width)"
    assert reasons["01.png"] == "01.png has labels beyond the 5 that there are"
    assert reasons["23.png"] == "no masks for it"


def test_a_mask_of_other_labels_is_left_out_of_what_is_measured(
    pairs: Path, tokenizers: dict[str, Path], tmp_path: Path
) -> None:
    for k, label in enumerate((4, 9, 4)):
        Image.fromarray(np.full((20, 30), label, np.uint8)).save(tmp_path / f"{k:02d}.png")
    tokenizer, other = (Tokenizer.from_pretrained(tokenizers[of]) for of in ("images", "masks"))
    before = codes_of(other, "masks", source="masks", image_size=16)
    settings = ARConfig(width=16, heads=2, layers=1, input="learned")
    made = for_tokenizer(settings, tokenizer, source="images", image_size=16, conditioned_on=before)
    images = open_images(f"folder:eval={pairs}/images,masks={tmp_path}", "eval", image_size=16)
    config = GeneratorEvaluationConfig(metrics=[], samples=2)
    found = evaluate_generator(Pipeline(made.eval(), tokenizer, other), images, config)
    assert found.data.n == 2 and ("01.png", "01.png has labels beyond the 5 that there are") in images.skipped


def test_a_name_that_several_have_pairs_nothing(pairs: Path, tmp_path: Path) -> None:
    for name, of in (("images/a", "00"), ("images/b", "00"), ("images/b", "01"), ("masks/a", "00"), ("masks", "01")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(pairs / name.split("/")[0] / f"{of}.png", tmp_path / name)
    source = f"folder:eval={tmp_path}/images,masks={tmp_path}/masks"
    images = open_images(source, "eval", image_size=16)
    assert [images.name(k) for k in images.kept] == ["a/00.png", "b/01.png"]
    assert images.skipped == [("b/00.png", "no masks for it")]  # not the mask of a/00.png
    for split, of in (("train", "00"), ("val", "01")):  # of one name, each in the folder of its split
        for kind in ("images", "masks"):
            (tmp_path / "both" / kind / split).mkdir(parents=True)
            shutil.copy(pairs / kind / f"{of}.png", tmp_path / "both" / kind / split / "x.png")
    split_up = f"folder:{tmp_path}/both/images,masks={tmp_path}/both/masks"
    for split, of in (("train", "00"), ("eval", "01")):
        found: Any = open_images(split_up, split, image_size=16, crop="adm")  # type: ignore[arg-type]
        alone: Any = open_images(f"folder:eval={pairs}/images,masks={pairs}/masks", "eval", image_size=16)
        assert torch.equal(found[0]["partner"], alone[int(of)]["partner"])
    np.save(tmp_path / "masks" / "a" / "00.npy", np.zeros((20, 30), np.uint8))
    with pytest.raises(TokbenchError, match=r"has two files a/00\.\*, and one goes with an image: move the others"):
        open_images(source, "eval", image_size=16)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"source": "photos"}}, "condition needs pairs"),
        ({"condition": None}, "data.source has depth=, and nothing reads them"),
        ({"generator": {"name": "ar", "class_conditional": True}}, "a generator has one condition"),
        ({"generator": {"name": "ar", "text": {"tokenizer": "w"}}}, "a generator has one condition"),
    ],
)
def test_recipes_that_do_not_go_together(change: dict[str, Any], said: str) -> None:
    whole = {
        "name": "x", "tokenizer": "t", "condition": {"tokenizer": "c"}, "data": {"source": "folder:a,depth=b"},
        "generator": {"name": "ar"}, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        GeneratorRecipe.model_validate(whole)


def test_no_partner_at_all_and_no_folder_of_them_are_one_line(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="no image of its eval split has a file of its name in"):
        open_images(f"folder:eval={pairs}/images,depth={tmp_path}", "eval", image_size=16)
    with pytest.raises(TokbenchError, match="there is no folder"):
        open_images(f"folder:{pairs}/images,depth={tmp_path}/none", "eval", image_size=16)


def test_a_cache_of_pairs_holds_both_codes_and_trains_a_generator(
    pairs: Path, tokenizers: dict[str, Path], tmp_path: Path
) -> None:
    source, out = f"folder:{pairs}/images,masks={pairs}/masks", tmp_path / "codes"
    asked = ["encode", tokenizers["images"], "--data", source, "--no-flip", "--crop", "adm", "--out", out, "--cpu"]
    alone = command(*asked)
    assert "name the tokenizer of its masks with --condition" in str(alone.exception)
    made = command(*asked, "--condition", tokenizers["masks"])
    assert made.exit_code == 0, (made.output, made.exception)

    cache, other = CodeCache(out, "train"), Tokenizer.from_pretrained(tokenizers["masks"])
    images = open_images(source, "train", image_size=16, crop="adm")
    held: Any = cache.read(list(range(len(cache))))
    beside: Any = torch.stack([images[k]["partner"] for k in range(len(images))])  # type: ignore[typeddict-item]
    assert torch.equal(held["condition"], partner_codes(other, "masks", beside))
    own = Tokenizer.from_pretrained(tokenizers["images"])
    assert torch.equal(
        held["codes"], own.encode(to_float(torch.stack([images[k]["image"] for k in range(len(images))])))
    )

    settings = {
        "name": "pairs", "tokenizer": str(tokenizers["images"]), "data": {"source": f"codes:{out}", "image_size": 16},
        "condition": {"tokenizer": str(tokenizers["masks"])},
        "generator": {"name": "ar", "width": 16, "heads": 2, "layers": 1},
        "training": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "checkpoint_every": 2},
    }  # fmt: skip
    recipe = GeneratorRecipe.model_validate(settings)
    trained = train(recipe, tmp_path / "run", quiet=True)
    pair = Pipeline.load(trained.product)
    assert pair.generator.config.conditioned_on.partner == "masks"
    assert pair.condition_codes(beside[:2]).tolist() == held["condition"][:2].tolist()
    for change, said in (
        ({"condition": None}, "has codes of pairs: set condition.tokenizer"),
        (
            {"condition": {"tokenizer": str(tokenizers["depth"])}},
            "takes images, and masks are label maps",
        ),
    ):
        with pytest.raises(TokbenchError, match=said):
            train(GeneratorRecipe.model_validate({**settings, **change}), tmp_path / "no", quiet=True)
