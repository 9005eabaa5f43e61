"""One and three image channels through everything a run goes through: training with LPIPS and an adversary, evaluation,
images, a generator, compression."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tokbench import weights
from tokbench.cli.app import app
from tokbench.config.address import address_settings
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import open_split, read_image
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.lpips import _CONVOLUTIONS, _TAPS
from tokbench.models import Tokenizer
from tokbench.reconstruction import reconstruct_files
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]
MODELS = {
    "vqgan": "{architecture: vqgan, channels: 8, multipliers: [1, 2], blocks: 1, latent_channels: 8}",
    "rqvae": "{architecture: rqvae, channels: 8, multipliers: [1, 2], blocks: 1, latent_channels: 8}",
    "llamagen": "{architecture: llamagen, channels: 8, multipliers: [1, 2], blocks: 1, latent_channels: 8}",
    "magvit2": "{architecture: magvit2, channels: 8, multipliers: [1, 2], blocks: 1}",
    "vit": "{architecture: vit, patch_size: 4, width: 16, depth: 1, heads: 2}",
}
FEW = ("vqgan", "magvit2", "vit")  # the others are made of VQ-GAN's blocks
PATCHGAN = "{name: patchgan, channels: 8, layers: 2}"
STYLEGAN = "{name: stylegan2, channels: 8}"


@pytest.fixture
def thin_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS (vgg) of four random channels a layer in the place of the weights that would be fetched."""
    generator, made, before = torch.Generator().manual_seed(0), {}, 3
    for index in _CONVOLUTIONS["vgg"]:
        made[f"features.{index}.weight"] = torch.randn(4, before, 3, 3, generator=generator) / 3
        made[f"features.{index}.bias"], before = torch.zeros(4), 4
    made |= {f"lin{order}.weight": torch.ones(1, 4, 1, 1) for order in range(len(_TAPS["vgg"]))}
    monkeypatch.setattr(weights, "load", lambda name: made)
    monkeypatch.setattr(weights, "find", lambda name: Path(name) if name == "lpips-vgg" else None)


def settings(architecture: str, channels: int) -> list[str]:
    discriminator = STYLEGAN if architecture == "vit" else PATCHGAN
    policies = "augment: [color, translation, cutout], r1: 1.0, lecam: 0.1"
    return [
        f"model={MODELS[architecture]}", f"data.channels={channels}", "loss.perceptual.net=vgg", "training.steps=3",
        f"loss.adversarial={{start: 1, weighting: adaptive, discriminator: {discriminator}, {policies}}}",
        "training.picture_every=2", "training.warmup_steps=1",
    ]  # fmt: skip


@pytest.mark.usefixtures("thin_lpips")
@pytest.mark.parametrize(
    ("architecture", "channels"),
    [
        ("vqgan", 3),
        *((name, 1) for name in FEW),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in MODELS if name not in FEW),
        *(pytest.param(name, 3, marks=pytest.mark.slow) for name in MODELS if name != "vqgan"),
    ],
)
def test_a_run_of_every_architecture(tiny: Tiny, tmp_path: Path, architecture: str, channels: int) -> None:
    recipe = tiny(*settings(architecture, channels))
    product = train(recipe, tmp_path / "run", quiet=True).product
    tokenizer = Tokenizer.from_pretrained(product)
    assert tokenizer.config == recipe.tokenizer and tokenizer.config.channels == channels
    mode, protocol = ("L", "tokbench-v1-grey") if channels == 1 else ("RGB", "tokbench-v1")
    with Image.open(next((tmp_path / "run" / "pictures").glob("*.png"))) as picture:
        assert picture.mode == mode

    metrics = ["psnr", "ssim", "lpips_vgg", "usage"]
    found = evaluate_tokenizer(tokenizer, open_split(recipe.data, "eval"), metrics=metrics)
    assert found.data.protocol == protocol and all(found.metrics[name].value is not None for name in metrics)
    assert found.metrics["psnr"].version == f"{protocol}/psnr-1"

    Image.radial_gradient("L").resize((21, 14)).save(tmp_path / "grey.png")
    Image.effect_noise((17, 20), 60).convert("RGB").save(tmp_path / "colour.png")
    rows, skipped = reconstruct_files(
        tokenizer, [tmp_path / "grey.png", tmp_path / "colour.png"], tmp_path / "out", depths=True
    )
    assert len(rows) == 2 and not skipped
    made = sorted((tmp_path / "out").rglob("*.png"))
    assert len(made) == 6 and {Image.open(path).mode for path in made} == {mode}


def test_the_default_is_in_no_address_and_one_channel_is(tiny: Tiny) -> None:
    assert address_settings(tiny()) == address_settings(tiny("data.channels=3"))
    assert address_settings(tiny("data.channels=1"))["data"]["channels"] == 1
    with pytest.raises(TokbenchError, match=r"images are read with 3 channels \(RGB\) or 1 \(grey\), not 4"):
        tiny("data.channels=4")


def command(*words: Any) -> str:
    """Standard output and error of a command that ends well."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done.output + done.stderr


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a one-channel tokenizer, trained through the command line."""
    from recipes_tiny import TINY

    out = tmp_path_factory.mktemp("grey")
    words = [word for setting in [*TINY, "training.steps=3", "data.channels=1"] for word in ("--set", setting)]
    command("train", "demo", *words, "--out", out / "run", "--cpu")
    return out / "run" / "tokenizer"


GENERATOR = [
    "data.image_size=16", "data.limit=16", "data.eval_limit=8", "generator.width=16", "generator.layers=1",
    "generator.heads=2", "training.batch_size=8", "training.steps=3", "training.warmup_steps=1",
]  # fmt: skip


def test_codes_and_what_draws_them(grey: Path, tmp_path: Path) -> None:
    told = command("encode", grey, "--data", "photos", "--out", tmp_path / "codes", "--limit", 16, "--eval-limit", 8)
    assert "data.channels=1" in told
    for source in ("photos", f"codes:{tmp_path / 'codes'}"):
        usual = [*GENERATOR, f"tokenizer={grey}", f"data.source={source}"]
        with pytest.raises(TokbenchError, match=r"data.channels is 3, and .*: set data.channels=1") as caught:
            train(load_recipe("generators/demo-ar", usual), tmp_path / "none", quiet=True)
        assert "\n" not in str(caught.value)
    recipe = load_recipe("generators/demo-ar", [*usual, "data.channels=1"])
    generator = train(recipe, tmp_path / "ar", quiet=True).product
    command("generate", generator, "-n", 2, "--out", tmp_path / "drawn", "--cpu")
    assert [Image.open(tmp_path / "drawn" / name).mode for name in ("000000.png", "grid.png")] == ["L", "L"]
    Image.effect_noise((18, 15), 60).convert("RGB").save(tmp_path / "colour.png")
    coder = ["--histogram", tmp_path / "codes", "--tokenizer", grey, "--cpu"]
    command("compress", tmp_path / "colour.png", "-o", tmp_path / "c.tokb", *coder)
    command("decompress", tmp_path / "c.tokb", "-o", tmp_path / "c.png", *coder)
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.mode == "L" and picture.size == (18, 15)
    fill = ["--image", tmp_path / "colour.png", "--keep", "top"]
    command("generate", generator, "-n", 1, "--out", tmp_path / "filled", *fill, "--cpu")
    assert read_image(tmp_path / "filled" / "000000.png", 1).shape == (1, 16, 16)


def test_a_measured_grey_tokenizer_says_so(grey: Path, tmp_path: Path) -> None:
    asked = ["--data", "photos", "--limit", 8, "--metrics", "psnr,ssim", "--out", tmp_path, "--cpu"]
    assert "protocol tokbench-v1-grey" in command("evaluate", grey, *asked)
    assert "protocol adm-grey" in command("evaluate", grey, *asked, "--protocol", "adm")
    assert command("table", tmp_path).count("-grey") == 2


def test_training_on_keeps_the_channels(grey: Path, tmp_path: Path) -> None:
    words = ["--set", "training.steps=2", "--set", "training.batch_size=4", "--set", "data.limit=8", "--cpu"]
    words += ["--set", "training.warmup_steps=1", "--set", "data.eval_limit=4"]
    command("train", "demo", "--from", grey, *words, "--out", tmp_path / "on")
    assert Tokenizer.from_pretrained(tmp_path / "on" / "tokenizer").config.channels == 1
    done = CliRunner().invoke(
        app, ["train", "demo", "--from", str(grey), *words, "--set", "data.channels=3", "--out", str(tmp_path / "no")]
    )
    assert done.exit_code and "encoder.stem.weight is [8, 1, 3, 3], not [8, 3, 3, 3]" in str(done.exception)
