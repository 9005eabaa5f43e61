"""Images too large for memory: attention without N x N scores, tiles that make one code map."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from small_tokenizers import make
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tokbench.config.architecture import ImageArchitecture
from tokbench.config.model import TokenizerConfig
from tokbench.models import Tokenizer, tiling
from tokbench.models.blocks import AttnBlock, attend
from tokbench.models.extent import Extent, extent_of


def small(attention: bool = False, architecture: str = "vqgan") -> Tokenizer:
    torch.manual_seed(0)
    model = {"channels": 8, "multipliers": (1, 2), "norm_groups": 2, "blocks": 1}
    if architecture == "vqgan":
        model |= {"latent_channels": 8, "middle_attention": attention, "attention_resolutions": ()}
    config = TokenizerConfig.model_validate(
        {
            "image_size": 16,
            "model": {"architecture": architecture, **model},
            "quantizer": {"name": "rq", "codebook_size": 16, "depth": 2},
        }
    )
    return Tokenizer(config).eval()


def smooth(height: int, width: int) -> Tensor:
    torch.manual_seed(1)
    coarse = torch.rand(1, 3, 41, 41) * 2 - 1
    return nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(-1, 1)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Memory for so many pixels of the tiny tokenizers."""
    tiling._said.clear()

    def room(pixels: int) -> None:
        most = 2 * max(e.bytes_per_pixel for e in small()._extents(torch.zeros(1)))
        monkeypatch.setattr(tiling, "available_memory", lambda device: int(most * pixels) + 1)

    return room


def test_attention_holds_no_scores_of_every_pair() -> None:
    block = AttnBlock(12)
    x = torch.randn(1, 12, 33, 33, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error where only the kernel with N x N scores would do
        block(x).square().mean().backward()
    h = block.norm(x)
    q, k, v = (conv(h).flatten(2).transpose(1, 2).double() for conv in (block.q, block.k, block.v))
    plain = (q @ k.transpose(1, 2) / 12**0.5).softmax(-1) @ v
    assert torch.allclose(attend(q.float(), k.float(), v.float()), plain.float(), atol=1e-5)
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_convolutions_alone_are_equal_to_the_last_digits() -> None:
    torch.manual_seed(0)
    down = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 4, 4, 2, 1), nn.Conv2d(4, 5, 3, 1, 1))
    up = nn.Sequential(nn.Conv2d(5, 4, 3, 1, 1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 3, 1, 1))
    images = torch.randn(1, 3, 150, 94)
    for network, given, upwards in ((down, images, False), (up, down(images).detach(), True)):
        extent = extent_of(network, given[..., :4, :4], 64 if upwards else 16)
        tiles = tiling.tiles_of(64, 150, 94, 2, extent.reach)
        assert len(list(tiles.of(75, 47))) > 4
        assert tiles.margin * 2 >= extent.reach
        with torch.no_grad():
            assert torch.allclose(tiling._tiled(network, given, tiles, 2, upwards), network(given), atol=1e-5)


@pytest.mark.parametrize("architecture", ["vqgan", "magvit2"])
def test_tiles_make_one_map_near_the_whole(
    architecture: str, memory: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, images = small(architecture=architecture), smooth(256, 320)
    with torch.no_grad():
        latents, codes = tokenizer.latents(images), tokenizer.encode(images)
        whole = tokenizer.decode(codes)
        memory(128 * 128)
        with caplog.at_level(logging.WARNING, "tokbench"):
            tiled = tokenizer.latents(images)
            decoded = tokenizer.decode(codes)
            tokenizer.decode(codes)
    assert tokenizer.encode(images).shape == codes.shape == (1, 128, 160, 2)
    assert float((tiled - latents).square().mean().sqrt() / latents.std()) < 0.2
    assert float((decoded - whole).square().mean().sqrt() / whole.std()) < 0.25  # of random weights and noisy codes
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and said[0].startswith("320x256 pixels encoded in ") and " decoded in " in said[1]


@pytest.mark.parametrize(("height", "width"), [(2, 40_000), (40_000, 2), (6, 20_000), (514, 258)])
def test_any_shape_comes_back_in_its_shape(height: int, width: int, memory: Callable[[int], None]) -> None:
    memory(64 * 64)
    tokenizer = small(attention=True)
    with torch.no_grad():
        made = tokenizer.reconstruct(smooth(height, width))
    assert made.shape == (1, 3, height, width) and bool(made.isfinite().all())


def test_a_batch_goes_image_by_image_before_any_is_cut(
    memory: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, images = small(), torch.cat([smooth(256, 264), -smooth(256, 264)])
    with torch.no_grad():
        together = tokenizer.latents(images)
        memory(256 * 264)
        assert torch.allclose(tokenizer.latents(images), together, atol=1e-5)
    assert not caplog.records


def test_attention_over_too_many_positions_asks_for_tiles_whatever_the_memory() -> None:
    extent = Extent(bytes_per_pixel=1.0, positions_per_pixel=1.0, reach=9)
    assert tiling.plan(extent, 180, 180, 2, 2**40) is None
    assert tiling.plan(extent, 512, 768, 2, 2**40) == 128
    assert tiling.plan(extent, 2, 2**14, 2, 2**40) is None


def test_smaller_tiles_where_the_estimate_was_too_low(
    memory: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory(256 * 256)
    original, tried = tiling._tiled, []

    def short(network: nn.Module, given: Tensor, tiles: tiling.Tiles, *rest: object) -> Tensor:
        tried.append(tiles.height)
        if len(tried) == 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
        return original(network, given, tiles, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tiling, "_tiled", short)
    with torch.no_grad():
        assert small().latents(smooth(512, 512)).shape == (1, 8, 256, 256)
    assert tried == [128, 64]


def test_how_far_and_how_wide_every_architecture_looks(architecture: str) -> None:
    tokenizer = make(architecture).eval()
    if isinstance(tokenizer.config.model, ImageArchitecture):
        _, decoder = tokenizer._extents(torch.zeros(1))
        layers = [module for module in tokenizer.decoder.modules() if getattr(module, "looks_everywhere", False)]
        assert decoder.bytes_per_pixel > 0 and bool(decoder.positions_per_pixel) == bool(layers)


def test_convolutions_over_time_look_around_as_others_do() -> None:
    """Emu3's are VQ-GAN's encoder and four of 3x3 more, two pixels a position."""
    settings = {"channels": 8, "multipliers": [1, 2], "blocks": 1}
    reach = [make(name, **settings).eval()._extents(torch.zeros(1))[0].reach for name in ("emu3", "llamagen")]
    assert reach[0] == reach[1] + 4 * 2


def test_training_never_goes_in_tiles(memory: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    memory(1)
    monkeypatch.setattr(tiling, "_tiled", lambda *given: pytest.fail("in tiles"))
    tokenizer, images = small(), smooth(260, 260)
    tokenizer.latents(images).sum().backward()
    with torch.no_grad():
        tokenizer.train().latents(images)
