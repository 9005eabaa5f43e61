"""Whatever grid an architecture makes: one contract, and two toys that go all the way through the house."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_tokenizers import SMALL, make, size_of
from toy_architectures import ClipConfig, LineConfig

from tokbench.clips import save_clip
from tokbench.codes.cache import CodeCache
from tokbench.config.architecture import name_of
from tokbench.config.grid import axes
from tokbench.config.loading import load_recipe
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.registry import all_settings
from tokbench.results.report import build
from tokbench.results.store import Store
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.run import run_sweep
from tokbench.sweeps.settings import SweepSettings, load_sweep


@pytest.mark.parametrize("name", [name_of(settings) for settings in all_settings()])
def test_every_architecture_keeps_to_its_grid(name: str, tmp_path: Path) -> None:
    tokenizer = make(name)
    size = size_of(name)
    grid = tokenizer.grid()
    images = torch.rand(2, 3, *axes(size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    out = tokenizer(images)
    assert out.reconstruction.shape == images.shape and out.latents.shape == (2, tokenizer.quantizer.dim, *grid)
    assert out.codes.shape == (2, *grid, 3)
    ((out.reconstruction - images).square().mean() + out.loss).backward()
    assert tokenizer.last_layer.grad is not None

    tokenizer.eval()
    codes = tokenizer.encode(images)
    with torch.no_grad():
        assert torch.allclose(tokenizer.decode(codes), tokenizer(images).reconstruction, atol=1e-5)
    assert tokenizer.decode(codes[..., :1]).shape == images.shape
    rate = tokenizer.rate()
    assert rate["tokens"] == [*grid, 3] and rate["bits_per_image"] == math.prod(grid) * 12
    assert rate["bits_per_pixel"] == pytest.approx(rate["bits_per_image"] / math.prod(axes(size)))

    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.config == tokenizer.config and torch.equal(again.encode(images), codes)
    assert tokenizer.config.model.reduction in (tmp_path / "README.md").read_text()

    for wrong in (*([images[..., :-1]] if tokenizer.downsampling > 1 else []), images[0], codes):
        with pytest.raises(ValueError, match="images"):
            tokenizer.encode(wrong)
    with pytest.raises(ValueError, match="codes must be"):
        tokenizer.decode(codes[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy-line", "--downsampling 8: toy-line has no levels; --vary its own keys"),
        ("cosmos-dv", "--downsampling 8: the other settings of cosmos-dv keep it at f8x16x16; --vary those instead"),
    ],
)
def test_a_sweep_over_a_downsampling_that_is_not_to_be_had_is_one_line(name: str, message: str) -> None:
    grid = SweepSettings(encoder=[name], downsampling=[8], image_size=[(9, 32, 32)])
    with pytest.raises(TokbenchError, match=f"no cell of this sweep is possible.*{message}"):
        tokenizer_cells(grid)


def clips(folder: Path) -> str:
    for k in range(9):
        frames = torch.randint(0, 255, (3, 5, 4, 6), generator=torch.Generator().manual_seed(k)).to(torch.uint8)
        large = frames.repeat_interleave(4, 2).repeat_interleave(4, 3)
        path = folder / ("val" if k % 3 == 0 else "train") / f"{k}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_clip(large, path)
    return f"folder:{folder}"


@pytest.mark.parametrize(
    ("name", "size", "tokens", "prefixes"),
    [
        ("toy-line", [16, 24], (6, 2), None),
        ("toy-clip", [5, 16, 24], (3, 4, 6, 2), None),
        ("titok", [16, 24], (12, 2), [8, 12]),  # any first tokens decode
    ],
)
def test_a_toy_goes_through_the_whole_house(
    name: str,
    size: list[int],
    tokens: tuple[int, ...],
    prefixes: list[int] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = name == "toy-clip"
    if video:
        pytest.importorskip("av")
    source = clips(tmp_path / "clips") if video else "photos"
    values = {
        "recipe": "base",
        "set": {
            "data.source": source, "data.image_size": size, "data.limit": 8, "data.eval_limit": 4,
            "model": {"architecture": name, **SMALL[name]}, "quantizer": {"name": "rq", "codebook_size": 8, "depth": 2},
            "loss.perceptual.net": "none", "training.batch_size": 4, "training.steps": 2, "training.warmup_steps": 1,
            "training.picture_every": 2, "training.checkpoint_every": 2, "training.channels_last": True,
        },
        "generator": ["ar", "mlm"],
        "set_generator": {
            "generator.width": 16, "generator.heads": 2, "generator.layers": 1, "generator.input": "learned",
            "training.steps": 2, "training.batch_size": 4, "training.warmup_steps": 1, "evaluation.samples": 4,
            "evaluation.batch_size": 4,
        },
        "out": str(tmp_path / "out"),
    }  # fmt: skip
    assert run_sweep(load_sweep(None, values), cpu=True) == 0
    shown = capsys.readouterr().out
    records = Store(tmp_path / "out" / "runs.jsonl").read()
    assert [record.error for record in records] == [None, None, None] and not records.damaged

    tokenizer = records[0]
    assert tokenizer.rate is not None and tuple(tokenizer.rate.tokens) == tokens
    assert tokenizer.data is not None and list(tokenizer.data.size) == size
    assert tokenizer.rate.prefixes == prefixes and len(tokenizer.metrics["psnr"].by_depth or []) == 2
    assert tokenizer.metrics["psnr"].value is not None and tokenizer.metrics["psnr"].n == tokenizer.data.n
    assert "×".join(map(str, tokens)) in (tmp_path / "out" / "table.md").read_text() and "16×24" in shown
    for record in records:
        for role in {"originals", "reconstructions", "depths", "samples"} & set(record.artifacts):
            assert (tmp_path / "out" / record.artifacts[role]).stat().st_size > 0
    for record in records[1:]:
        assert record.metrics["model_bpp" if record.model["name"] == "ar" else "model_bound_bpp"].value is not None
    [header] = (tmp_path / "out").rglob("train/header.json")
    assert CodeCache(header.parents[1], "train").header.shape == tokens
    assert "×".join(map(str, tokens)) in build(records, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.image_size=15"], "data.image_size 15 is not a multiple of the downsampling 2; nearest: 14, 16"),
        (["data.image_size=[16, 15]"], "16x15 is not a multiple of the downsampling 2; nearest: 16x14, 16x16"),
        (["data.image_size=[4, 16, 16]"], "4x16x16 is a clip's (T, H, W); the model takes an image's (H, W)"),
        (["data.image_size=[16]"], "a size is a side, [H, W] or [T, H, W] (frames first), not 1 numbers"),
        (["data.image_size=[16, 0]"], "greater than or equal to 1"),
        (["data.image_size=wide"], "valid integer"),
        (["model={architecture: toy-clip}", "data.image_size=[4, 16, 16]"], "nearest: 3x16x16, 5x16x16"),
        (["model.architecture=toy-lin"], "unknown architecture 'toy-lin' (did you mean 'toy-line'?)"),
        (["model={architecture: toy-line, tokans: 3}"], "unknown key (did you mean 'tokens'?)"),
    ],
)  # fmt: skip
def test_a_size_without_a_grid_is_one_line(settings: list[str], said: str) -> None:
    with pytest.raises(TokbenchError) as error:
        load_recipe("demo", ["model.multipliers=[1,2]", *settings])
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_square_is_one_size_however_it_is_written() -> None:
    for text in ("64", "[64, 64]", "64x64"):
        recipe = load_recipe("demo", [f"data.image_size={text}"])
        assert recipe.resolved() == load_recipe("demo").resolved()
    assert load_recipe("demo", ["data.image_size=64x96"]).resolved()["data"]["image_size"] == [64, 96]


def test_images_are_scaled_and_cropped_to_both_sides() -> None:
    for split in ("train", "eval"):
        images = open_images("photos", split, image_size=(24, 40))
        assert images[0]["image"].shape == (3, 24, 40) and "24x40" in images.describe()
    assert LineConfig().grid((16, 24)) == (6,) and ClipConfig().grid(16) == (1, 4, 4)
