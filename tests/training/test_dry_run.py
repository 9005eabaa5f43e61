"""``train --dry-run`` refuses what training would, in one line, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tokbench import weights
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.training.checks import check_recipe
from tokbench.training.dry_run import check_run
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.learning_rate=1e400", "training.learning_rate"),
        ("training.weight_decay=.inf", "training.weight_decay"),
        ("training.gradient_clip=.nan", "training.gradient_clip"),
        ("loss.l2=.inf", "loss.l2"),
        ("loss.adversarial.weight=.inf", "loss.adversarial.weight"),
        ("training.betas=[0.9,.nan]", "training.betas"),
        ("training.betas=[0.9,1.0]", "training.betas"),
        ("quantizer.beta=.inf", "beta"),
        ("quantizer.levels=[.nan]", "levels"),
    ],
)
def test_what_is_not_finite_is_no_setting(tiny: Tiny, setting: str, named: str) -> None:
    with pytest.raises(TokbenchError) as raised:
        tiny(setting)
    assert named in str(raised.value) and len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["evaluation.metrics=[psnrr]"], "evaluation.metrics: unknown metric 'psnrr'.*did you mean 'psnr'"),
        (["evaluation.metrics=[gfid]"], "evaluation.metrics: 'gfid' is of generation; of reconstruction: .*psnr"),
        (["loss.perceptual.net=alex"], "at least 31 pixels per side, data.image_size is 16: .*net vgg"),
        (["loss.perceptual.net=vgg", "data.image_size=8"], "at least 16 pixels per side, data.image_size is 8"),
        (["loss.adversarial.discriminator.layers=5"], "layers 5: too many for images of 16 pixels"),
    ],
)
def test_what_the_recipe_alone_shows_is_refused_before_anything(tiny: Tiny, settings: list[str], said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        check_recipe(tiny(*settings))


def test_lpips_takes_the_least_size_that_is_let_through() -> None:
    from tokbench.metrics.lpips import _CONVOLUTIONS, _TAPS, LPIPS, SMALLEST

    channels = {"alex": (3, 64, 192, 384, 256, 256), "vgg": (3, 64, 64, *[128] * 2, *[256] * 3, *[512] * 6)}
    kernels = {"alex": (11, 5, 3, 3, 3), "vgg": (3,) * 13}
    for net in ("alex", "vgg"):
        sizes, made = channels[net], {}
        for n, index in enumerate(_CONVOLUTIONS[net]):
            made[f"features.{index}.weight"] = torch.zeros(sizes[n + 1], sizes[n], kernels[net][n], kernels[net][n])
            made[f"features.{index}.bias"] = torch.zeros(sizes[n + 1])
        for order, index in enumerate(_TAPS[net]):
            made[f"lin{order}.weight"] = torch.zeros(1, len(made[f"features.{index}.bias"]), 1, 1)
        lpips = LPIPS(net, made)  # type: ignore[arg-type]
        enough, short = (torch.zeros(1, 3, side, side) for side in (SMALLEST[net], SMALLEST[net] - 1))
        assert lpips(enough, enough).shape == (1,)
        with pytest.raises(ValueError, match=f"needs sides of at least {SMALLEST[net]}"):
            lpips(short, short)


def test_what_this_machine_lacks(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(said: str, *settings: str, out: Path = tmp_path / "run") -> None:
        with pytest.raises(TokbenchError, match=said):
            check_run(tiny(*settings), out, cpu=True)
        assert not (tmp_path / "run").exists()

    monkeypatch.setattr(weights.store, "find", lambda name: None)
    refused("tokbench weights get lpips-vgg", "loss.perceptual.net=vgg")
    refused("fp16 needs a GPU", "training.precision=fp16")
    (tmp_path / "file").write_text("")
    refused("cannot be written: Not a directory", out=tmp_path / "file" / "run")


def test_images_that_cannot_be_read_are_found_by_reading(tiny: Tiny, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for n in range(8):
            Image.new("RGB", (20, 20), (n, 0, 0)).save(tmp_path / "data" / split / f"{n}.png")
    recipe = tiny(f"data.source=folder:{tmp_path / 'data'}")
    assert "8 training and 8 held-out samples" in check_run(recipe, tmp_path / "run", cpu=True)[0]
    held_out = sorted((tmp_path / "data" / "val").iterdir())
    held_out[0].write_bytes(b"damaged")  # one is no reason to refuse, and training goes without it
    check_run(recipe, tmp_path / "run", cpu=True)
    assert train(recipe, tmp_path / "run", quiet=True, stop_at=1).steps == 1
    for path in held_out:
        path.write_bytes(b"damaged")
    with pytest.raises(TokbenchError, match="0.png"):
        check_run(recipe, tmp_path / "other", cpu=True)


def test_a_generator_needs_its_tokenizer_and_labels(tiny: Tiny, tmp_path: Path) -> None:
    def recipe(*settings: str) -> object:
        sizes = ["data.image_size=16", "data.limit=64", "data.eval_limit=8", "generator.width=16", "generator.layers=1"]
        given = [f"tokenizer={tmp_path / 'tokenizer'}", *sizes, *settings]
        return load_recipe("generators/demo-ar", given)

    with pytest.raises(TokbenchError, match="tokenizer: no such folder"):
        check_run(recipe(), tmp_path / "run", cpu=True)  # type: ignore[arg-type]
    base = tiny()
    from tokbench.config.model import TokenizerConfig

    config = TokenizerConfig(image_size=16, model=base.model, quantizer=base.quantizer)
    Tokenizer(config).save_pretrained(tmp_path / "tokenizer")
    assert check_run(recipe(), tmp_path / "run", cpu=True)  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="class_conditional: photos has no class labels"):
        check_run(recipe("generator.class_conditional=true"), tmp_path / "run", cpu=True)  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="17 is not a multiple of the downsampling"):
        check_run(recipe("data.image_size=17"), tmp_path / "run", cpu=True)  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match=r"evaluation\.metrics: 'psnr' is of reconstruction"):
        check_recipe(recipe("evaluation.metrics=[psnr]"))  # type: ignore[arg-type]


def test_metrics_that_will_have_no_value_are_said(tiny: Tiny, tmp_path: Path) -> None:
    lines = check_run(tiny("data.image_size=8", "evaluation.metrics=[ssim]"), tmp_path / "run", cpu=True)
    assert any("no value of ssim: SSIM needs images of at least 11 pixels" in line for line in lines)
    assert not list(tmp_path.iterdir())
