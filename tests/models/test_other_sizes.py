"""Sizes of two sides and of clips where the house once knew the side of a square, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toy_architectures  # noqa: F401  (registers its two)
from small_tokenizers import make
from torch import Tensor

from tokbench import metrics
from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.metrics.base import Pairs
from tokbench.metrics.psnr import psnr
from tokbench.metrics.statistics import Mean
from tokbench.reconstruction import reconstruct_image
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.settings import load_sweep
from tokbench.training.checks import check_recipe

QUANTIZER = "quantizer={name: vq, codebook_size: 8}"


def random_bytes(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_image_of_any_size_goes_through_where_the_architecture_can() -> None:
    image = random_bytes(3, 13, 18)
    for name, codes in (("vit", (4, 5, 3)), ("toy-clip", (1, 4, 5, 3))):
        made = reconstruct_image(make(name).eval(), image)
        assert made.image.shape == image.shape and made.codes.shape == codes
        assert made.bits_per_pixel == pytest.approx(20 * 12 / (13 * 18))
    with pytest.raises(TokbenchError, match="takes images of 16x16 only, and this one is 13x18"):
        reconstruct_image(make("toy-line").eval(), image)


@pytest.mark.parametrize(
    ("model", "size", "discriminator", "said"),
    [
        ("toy-clip", [5, 16, 16], "{name: patchgan}", "patchgan looks at images, and these are clips of 5x16x16"),
        ("vit", 16, "{name: magvit}", "magvit looks at clips, and these are images: 16x16"),
        ("vit", [16, 32], "{name: stylegan2}", "square images of 8, 16, 32, ... pixels, not 16x32"),
        ("vit", [128, 8], "{name: patchgan}", "too many for images of 8 pixels; at most 1 fit"),
    ],
)
def test_a_discriminator_of_the_other_kind_is_one_line(model: str, size: Any, discriminator: str, said: str) -> None:
    sets = [f"model={{architecture: {model}}}", f"data.image_size={size}", QUANTIZER, "loss.perceptual.net=none"]
    with pytest.raises(TokbenchError) as error:
        check_recipe(load_recipe("base", [*sets, f"loss.adversarial={{discriminator: {discriminator}}}"]))
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_clips_are_not_augmented_as_images() -> None:
    sets = ["model={architecture: toy-clip}", "data.image_size=[5, 16, 16]", QUANTIZER]
    with pytest.raises(TokbenchError, match="augment: its policies are of images"):
        load_recipe("base", [*sets, "loss.adversarial={augment: [cutout]}"])


def test_a_clip_counts_once_and_is_compared_frame_by_frame() -> None:
    clips = random_bytes(2, 3, 4, 12, 12)
    worse = (clips.float() * 0.9).to(torch.uint8)
    mean = Mean()
    metrics.get("psnr").update(mean, Pairs(clips, worse))  # type: ignore[attr-defined]
    by_hand = [psnr(a.transpose(0, 1), b.transpose(0, 1)).mean() for a, b in zip(clips, worse, strict=True)]
    assert mean.n == 2 and mean.value() == pytest.approx(float(sum(by_hand) / 2))


def test_metrics_of_images_are_not_of_clips() -> None:
    assert metrics.get("rfid").unavailable((5, 64, 64)) == "rFID compares images; these are of 5x64x64"
    reason = metrics.get("ssim").unavailable((5, 8, 64))
    assert reason == "SSIM needs images of at least 11 pixels per side; these have 8"
    assert metrics.get("psnr").unavailable((5, 8, 64)) is None


def test_a_sweep_over_sizes() -> None:
    cells, _ = tokenizer_cells(load_sweep(None, {"recipe": "demo", "image_size": "64x96,2^5"}))
    assert [cell.recipe.data.image_size for cell in cells] == [(64, 96), 32]
    assert cells[0].label.endswith("image_size=64x96") and len({cell.key for cell in cells}) == 2
