"""TiTok: a start from which one stage learns, tail drop, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_tokenizers import make
from torch import Tensor

from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.models.titok_start import centres, spread
from tokbench.models.tokenizer import chosen_size
from tokbench.reconstruction import reconstruct_image
from tokbench.results.entries import Entry
from tokbench.results.record import Rate, Record, decode

SMALL = {"width": 32, "depth": 1, "heads": 2}


def patchwork(count: int) -> Tensor:
    """16x16 images of sixteen patches, each of one colour."""
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1, scale_factor=4.0)


def trained(steps: int, **model: Any) -> float:
    """The squared error of the last of so many steps on patches of 16 colours, whose variance is a third."""
    codes = {"name": "vq", "codebook_size": 64, "l2_norm": True}
    sizes = {"tokens": 16, "encoder": SMALL, "decoder": SMALL, "tail_drop": 0.0, "code_channels": 8}
    tokenizer = make("titok", codes, **{**sizes, **model})
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
    images = patchwork(256)
    for step in range(steps):
        batch = images[step % 8 * 32 :][:32]
        out = tokenizer(batch)
        error = (out.reconstruction - batch).square().mean()
        optimizer.zero_grad()
        (error + out.loss).backward()
        optimizer.step()
    return float(error.detach())


@pytest.mark.slow
def test_one_stage_learns_from_the_local_start_and_not_from_the_published_one() -> None:
    assert trained(200) < 0.1 < 0.25 < trained(200, initialization="published")


@pytest.mark.parametrize(("initialization", "local"), [("local", True), ("published", False)])
@torch.no_grad()
def test_at_the_start_a_token_is_of_one_patch_and_a_patch_of_one_token(initialization: str, local: bool) -> None:
    """The share of what one patch changes in the latents that falls on its token, and back."""
    size = {"width": 64, "depth": 2, "heads": 2}
    wide = make("titok", tokens=16, encoder=size, decoder=size, initialization=initialization, tail_drop=0.0).eval()
    order = [points.tolist() for points in spread(centres((4, 4)), 16)]
    images = patchwork(1).repeat(17, 1, 1, 1)
    for patch in range(16):
        row, column = divmod(patch, 4)
        images[1 + patch, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] *= -1
    latents = wide.latents(images)
    changed = (latents[1:] - latents[:1]).square().sum(1)  # by patch, in tokens
    tokens = [order.index(place) for place in centres((4, 4)).tolist()]
    share = changed[torch.arange(16), tokens] / changed.sum(1)

    vectors = torch.randn(1, wide.quantizer.dim, 16, generator=torch.Generator().manual_seed(0)).repeat(17, 1, 1)
    for patch, token in enumerate(tokens):
        vectors[1 + patch, :, token] *= -1
    made = wide.decoder(vectors)
    patches = (made[1:] - made[:1]).square().sum(1).unfold(1, 4, 4).unfold(2, 4, 4).sum((-1, -2)).flatten(1)
    back = patches.diagonal() / patches.sum(1)
    shares = float(share.mean()), float(back.mean())
    assert all(one > 0.5 for one in shares) if local else all(one < 0.2 for one in shares), shares


def test_in_training_the_tail_is_dropped_for_the_whole_batch_and_never_in_evaluation() -> None:
    tokenizer = make("titok", tail_drop=1.0)
    lengths = set()
    for seed in range(20):
        torch.manual_seed(seed)
        quantized = torch.randn(3, tokenizer.quantizer.dim, 12, requires_grad=True)
        tokenizer.decoder(quantized).sum().backward()
        assert quantized.grad is not None
        used = quantized.grad.abs().sum(1) > 0  # (B, N)
        length = int(used[0].sum())
        assert used[:, :length].all() and not used[:, length:].any()
        lengths.add(length)
    assert min(lengths) < 4 and max(lengths) > 9
    tokenizer.eval()
    codes = tokenizer.encode(patchwork(2))
    with torch.no_grad():
        assert torch.equal(tokenizer.decode(codes), tokenizer.decode(codes))
        assert not torch.equal(tokenizer.decode(codes), tokenizer.decode(codes[:, :8]))
    assert [prefix.positions for prefix in tokenizer.prefixes()] == [8, 12]
    assert tokenizer.rate()["prefixes"] == [8, 12]


def test_the_rate_of_tokens_whose_codebook_grows_is_their_sum() -> None:
    """In a record, and of each of its prefixes."""
    tokenizer = make("titok", {"name": "vcq", "codebook_size": 64}, tail_drop=0.5)
    sizes = tokenizer.quantizer.position_sizes((12,))
    rate = Rate(**tokenizer.rate())
    assert rate.bits_per_image == sum(map(math.log2, sizes)) == 12 * rate.bits_per_position < 12 * 6
    fields = {"id": "a", "cell": "a", "created": "", "name": "x", "recipe": {}, "environment": {}}
    entry = Entry((decode(Record.of(**fields, rate=rate).line),))
    found = [Entry(entry.records, prefix).bits() for prefix in (1, 2)]
    assert found == [sum(map(math.log2, sizes[:8])), rate.bits_per_image]
    with pytest.raises(ValueError, match="position_sizes are of each position"):
        decode(Record.of(**fields, rate={**tokenizer.rate(), "position_sizes": [2, 64]}).line)


def test_every_prefix_of_the_tokens_covers_the_image() -> None:
    places = spread(centres((8, 8)), 64)
    assert len({tuple(place) for place in places.tolist()}) == 64
    assert {tuple(quarter) for quarter in (places[:5] > 0.5).tolist()} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert len(spread(centres((2, 9)), 7)) == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model.tokens=65"], "64 has 64 patches of 8, fewer than the 65 latent queries; set model.tokens or"),
        (["data.image_size=60"], "60 is not a multiple of the downsampling 8; nearest: 56, 64"),
        (["data.image_size=[16, 40]"], "16x40 has 10 patches of 8, fewer than the 32 latent queries"),
        (["model.encoder={width: 10, depth: 1, heads: 3}"], "width 10 is not a multiple of heads 3"),
        (["model.encoder=huge"], "'huge' is not a size; small, base, large, or width, depth and heads"),
        (["model.tail_drop=2"], "less than or equal to 1"),
        (["model.code_head={pixels: {multipliers: [1, 1]}}"], "has 2 levels, patches of 2, and patch_size is 8"),
    ],
)
def test_what_makes_no_row_of_tokens_is_one_line(settings: list[str], said: str) -> None:
    with pytest.raises(TokbenchError) as error:
        load_recipe("demo", ["model={architecture: titok}", *settings])
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


def test_images_of_another_size_are_refused_in_one_line() -> None:
    tokenizer = make("titok")
    with pytest.raises(
        ValueError,
        match="images: 32x32 is not the one size of this tokenizer's images, 16x16: crop or resize the images$",
    ):
        tokenizer.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(TokbenchError, match="--image-size 32x32 is not the one size"):
        chosen_size(tokenizer, 32, "--image-size")
    with pytest.raises(TokbenchError, match="images: 20x16 is not the one size"):
        reconstruct_image(tokenizer, torch.zeros(3, 17, 16, dtype=torch.uint8))
    assert reconstruct_image(tokenizer, torch.zeros(3, 15, 14, dtype=torch.uint8)).image.shape == (3, 15, 14)
    codes = tokenizer.encode(torch.zeros(1, 3, 16, 16))
    for wrong in (codes[:, :0], torch.cat([codes, codes], dim=1)):
        with pytest.raises(ValueError, match=r"codes of (0|24) positions: the tokenizer decodes 1 to 12"):
            tokenizer.decode(wrong)
