"""A palette is k-means over the pixels of the first batch, the same in every run, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import quantizers
from quantizers.functional import kmeans
from tokbench.config.loading import load_recipe
from tokbench.data import open_split, to_float
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.models import Tokenizer
from tokbench.training.loop import train

SETTINGS = ["data.image_size=16", "data.limit=32", "data.eval_limit=8", "training.batch_size=16"]


def test_a_palette_is_fitted_once_and_the_same_in_every_run(tmp_path: Path) -> None:
    made = []
    for name, steps in (("a", 1), ("b", 3)):
        recipe = load_recipe("palette", [*SETTINGS, "quantizer.codebook_size=32", f"training.steps={steps}"])
        made.append(Tokenizer.from_pretrained(train(recipe, tmp_path / name, quiet=True).product).eval())
    first, second = made
    assert first.sha256() == second.sha256() and first.rate()["bits_per_pixel"] == 5
    images = open_split(recipe.data, "eval")
    pixels = to_float(torch.stack([images[k]["image"] for k in range(8)]))
    codes = first.encode(pixels)
    colours = first.quantizer.codebook
    nearest = torch.cdist(pixels.movedim(1, -1).reshape(-1, 3), colours).argmin(1)
    assert float((nearest == codes.flatten()).float().mean()) > 0.999  # short of ties
    torch.testing.assert_close(first.decode(codes), colours[codes[..., 0]].movedim(-1, 1))
    best = kmeans(pixels.movedim(1, -1).reshape(-1, 3), 32)[0]
    wanted = (best[torch.cdist(pixels.movedim(1, -1).reshape(-1, 3), best).argmin(1)]).view(8, 16, 16, 3).movedim(-1, 1)
    own, ideal = (float((pixels - x).detach().square().mean()) for x in (first.decode(codes), wanted))
    assert own < 4 * ideal  # of other images than it was fitted to
    found = evaluate_tokenizer(first, images, metrics=["psnr", "usage"]).metrics
    assert found["psnr"].value is not None and found["psnr"].value > 20


def test_a_palette_has_the_official_codes_and_colours(golden_conditional: Path) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(golden_conditional / "kmeans_rgb.npz").items()}
    palette = quantizers.build("palette", dim=3, codebook_size=16, channel_first=True).eval()
    palette.load_codebook(golden["centroids"])
    out = palette(golden["image"])
    assert torch.equal(out.indices.flatten(1), golden["codes"])
    torch.testing.assert_close(out.quantized, golden["decoded"].reshape(out.quantized.shape))


def test_pixels_need_a_quantizer_of_their_channels() -> None:
    recipe = load_recipe("palette", [*SETTINGS, "data.channels=1"])
    with pytest.raises(TokbenchError, match="the quantizer takes 3 channels and the images have 1"):
        Tokenizer(recipe.tokenizer)
