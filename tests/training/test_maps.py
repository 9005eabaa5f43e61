"""Tokenizers of label maps and of depth: trained, measured, drawn in colours, and what is wrong with a map is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import open_images, open_split
from tokbench.data.maps import colours, to_model, to_samples
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.base import Pairs
from tokbench.metrics.mean_iou import Confusion
from tokbench.metrics.registry import get
from tokbench.models import Tokenizer
from tokbench.reconstruction import reconstruct_files
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 maps of 20x30 of two halves: labels 0 and 4 (of 8 bits, 16 bits, palette and .npy), depth -2 and 5."""
    root = tmp_path_factory.mktemp("maps")
    for name in ("labels", "depth"):
        (root / name).mkdir()
    for k in range(24):
        half = np.zeros((20, 30), np.uint8)
        half[:, 5 + k % 20 :] = 4
        image = Image.fromarray(half if k % 4 else half.astype(np.uint16))
        if k % 4 == 1:
            image = Image.fromarray(half, "P")
            image.putpalette([9] * 768)
        if k % 4 == 2:
            np.save(root / "labels" / f"{k:02d}.npy", half.astype(np.int64))
        else:
            image.save(root / "labels" / f"{k:02d}.png")
        np.save(root / "depth" / f"{k:02d}.npy", half.astype(np.float32) / 4 * 7 - 2)
    return root


@pytest.mark.parametrize("loss", ["cross_entropy", pytest.param("binary", marks=pytest.mark.slow)])
def test_a_tokenizer_of_labels_learns_is_measured_and_drawn(tiny: Tiny, maps: Path, tmp_path: Path, loss: str) -> None:
    recipe = tiny(
        f"data.source=folder:{maps}/labels", "data.kind=labels", "data.channels=5", f"loss.reconstruction={loss}",
        "training.steps=30", "training.learning_rate=0.01", "evaluation.metrics=null",
    )  # fmt: skip
    run = train(recipe, tmp_path / "run", quiet=True)
    tokenizer = Tokenizer.from_pretrained(run.product).eval()
    assert tokenizer.config.kind == "labels" and tokenizer.config.channels == 5
    found = evaluate_tokenizer(tokenizer, open_split(recipe.data, "eval"))
    assert found.data.protocol == "tokbench-v1-labels"
    assert set(found.metrics) == {"pixel_accuracy", "mean_iou", "usage", "perplexity", "entropy", "entropy_bpp"}
    accuracy, iou = found.metrics["pixel_accuracy"].value, found.metrics["mean_iou"].value
    assert accuracy is not None and iou is not None and accuracy > 0.8 and iou < accuracy
    asked = evaluate_tokenizer(tokenizer, open_split(recipe.data, "eval"), metrics=["psnr"]).metrics["psnr"]
    assert asked.value is None and asked.note == "PSNR is of images; these are label maps"
    with Image.open(next((tmp_path / "run" / "pictures").glob("*.png"))) as picture:
        shown = {tuple(c) for c in np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0).tolist()}
    assert {(0, 0, 0), tuple(colours(torch.tensor(4)).tolist())} <= shown

    rows, skipped = reconstruct_files(tokenizer, [maps / "labels"], tmp_path / "out")
    assert len(rows) == 24 and not skipped
    with Image.open(tmp_path / "out" / "labels" / "05.png") as indices, Image.open(tmp_path / "out" / "05.png") as rgb:
        labels = np.asarray(indices)
        assert indices.mode == "P" and labels.shape == (20, 30)
        assert np.array_equal(np.asarray(rgb), colours(torch.from_numpy(labels.astype(np.int64))).numpy())
    right = float((labels == np.asarray(Image.open(maps / "labels" / "05.png"))).mean())
    assert next(row for row in rows if row.name == "05.png").scores["pixel_accuracy"] == pytest.approx(right)


def test_a_tokenizer_of_depth(tiny: Tiny, maps: Path, tmp_path: Path) -> None:
    recipe = tiny(f"data.source=folder:{maps}/depth", "data.kind=depth", "data.channels=1", "training.steps=4")
    folder = train(recipe, tmp_path / "run", quiet=True).product
    tokenizer = Tokenizer.from_pretrained(folder)
    images = open_split(recipe.data, "eval")
    found = evaluate_tokenizer(tokenizer, images, metrics=["depth_rmse"])
    sample = torch.stack([images[k]["image"] for k in range(len(images))])
    made = to_samples(tokenizer.eval().reconstruct(to_model(sample, "depth", 1)), "depth")
    wanted = ((sample - made) / 2).square().mean((1, 2, 3)).sqrt().mean()
    assert float(sample.min()) == -1 and float(sample.max()) == 1
    assert found.metrics["depth_rmse"].value == pytest.approx(float(wanted), rel=1e-5)
    assert found.data.protocol == "tokbench-v1-depth"
    rows, _ = reconstruct_files(tokenizer, [maps / "depth" / "03.npy"], tmp_path / "out")
    assert (rows[0].width, rows[0].height) == (30, 20) and 0 < rows[0].scores["depth_rmse"] < 1
    on = CliRunner().invoke(app, ["train", "demo", "--from", str(folder), "--dry-run", "--out", str(tmp_path / "on")])
    assert str(on.exception) == "photos gives images: set the kind (data.kind) to image"  # not trained on grey ones


def test_maps_that_cannot_be_read_are_counted_and_named(maps: Path, tmp_path: Path) -> None:
    Image.open(maps / "labels" / "03.png").save(tmp_path / "good.png")
    Image.fromarray(np.full((9, 9), 300, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "colours.png")
    np.save(tmp_path / "floats.npy", np.zeros((9, 9), np.float32))
    np.save(tmp_path / "below.npy", np.full((9, 9), -1))
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    (tmp_path / "text.png").write_text("x")
    images = open_images(f"folder:eval={tmp_path}", "eval", image_size=8, kind="labels", channels=5)
    assert len(images) == 1 and images[0]["image"].unique().tolist() == [0, 4]
    reasons = dict(images.skipped)
    assert reasons["deep.png"] == "has label 300, and labels are 0 to 4"
    assert reasons["below.npy"] == "has label -1, and labels are 0 to 4"
    assert reasons["colours.png"] == "one number a pixel is wanted, not uint8 (9, 9, 3)"
    assert reasons["floats.npy"] == "labels are whole numbers, and these are floats"
    assert reasons["text.png"] == "not an image in a known format" and "objects.npy" in reasons
    other = open_images(f"folder:eval={tmp_path}", "eval", image_size=8, kind="labels", channels=301)
    assert len(other) == 2 and other.fingerprint != images.fingerprint
    with pytest.raises(TokbenchError, match="photos gives images: set the kind"):
        open_images("photos", "eval", image_size=8, kind="labels", channels=5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.kind=labels", "data.channels=5"], "data.kind labels is trained with cross_entropy or binary"),
        (["loss.reconstruction=binary"], "data.kind image is trained with pixels"),
        (["data.kind=depth"], "depth has one channel, not 3"),
        (["data.channels=5"], r"3 channels \(RGB\) or 1 \(grey\), not 5"),
        (["data.kind=labels", "data.channels=1", "loss.reconstruction=binary"], "channels are the classes"),
        (
            ["data.kind=labels", "data.channels=5", "loss.reconstruction=binary", "loss.perceptual.net=vgg"],
            "perceptual is of pixels",
        ),
        (["data.kind=depth", "data.channels=1", "data.image_size=[5,16,16]"], "clips are of images, not of depth"),
    ],
)
def test_recipes_that_do_not_go_together(tiny: Tiny, settings: list[str], said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        tiny(*settings)


def test_mean_iou_is_scikit_learns_over_all_batches() -> None:
    from sklearn.metrics import jaccard_score

    random = torch.Generator().manual_seed(0)
    reference = torch.randint(0, 5, (6, 1, 8, 8), generator=random)
    sample = torch.where(torch.rand(reference.shape, generator=random) < 0.6, reference, 2)
    metric, halves = get("mean_iou"), [Confusion(7), Confusion(7)]
    for half, rows in zip(halves, (slice(0, 2), slice(2, 6)), strict=True):
        metric.update(half, Pairs(reference[rows], sample[rows]))
    halves[0].merge(halves[1])
    wanted = jaccard_score(reference.flatten(), sample.flatten(), average="macro")
    assert halves[0].value() == pytest.approx(wanted) and halves[0].n == 6


def test_no_two_labels_share_a_colour() -> None:
    assert len(colours(torch.arange(70_000)).unique(dim=0)) == 70_000
    assert colours(torch.tensor([0, 1, 2, 255])).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
