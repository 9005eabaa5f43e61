"""Blocks against the formulas they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_tokenizers import make

from tokbench.models.blocks import (
    AdaptiveGroupNorm,
    AttnBlock,
    Downsample,
    ResnetBlock,
    Upsample,
    depth_to_space,
    group_norm,
)
from tokbench.models.vit import Positions


def test_attention_is_softmax_over_positions() -> None:
    torch.manual_seed(0)
    block = AttnBlock(8, groups=2)
    x = torch.randn(2, 8, 3, 5)
    h = block.norm(x)
    q, k, v = (conv(h).flatten(2) for conv in (block.q, block.k, block.v))
    weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / 8**0.5, dim=-1)
    wanted = x + block.out(torch.einsum("bij,bcj->bci", weights, v).view_as(x))
    assert torch.allclose(block(x), wanted, atol=1e-5)


def test_depth_to_space_puts_blocks_where_tensorflow_does() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1)  # channels: (row, column) of the block varies slowest, then 2 channels
    assert depth_to_space(x)[0].tolist() == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_resampling_sizes(size: tuple[int, int]) -> None:
    x = torch.randn(1, 4, *size)
    assert Downsample(4)(x).shape[2:] == (size[0] // 2, size[1] // 2)
    assert Upsample(4)(x).shape[2:] == (2 * size[0], 2 * size[1])


def test_downsampling_pads_right_and_below_only() -> None:
    block = Downsample(1)
    with torch.no_grad():
        block.conv.weight.fill_(1.0)
        block.conv.bias.zero_()  # type: ignore[union-attr]
    assert block(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]


@pytest.mark.parametrize(
    ("channels", "groups", "wanted"), [(128, 32, 32), (48, 32, 24), (8, 32, 8), (30, 8, 6), (7, 4, 1)]
)
def test_groups_divide_the_channels(channels: int, groups: int, wanted: int) -> None:
    norm = group_norm(channels, groups)
    assert norm.num_groups == wanted and norm.eps == 1e-6


def test_adaptive_norm_scales_by_the_codes_statistics() -> None:
    torch.manual_seed(0)
    block = AdaptiveGroupNorm(8, 3, groups=4)
    x, codes = torch.randn(2, 8, 4, 4), torch.randn(2, 3, 2, 2)
    deviation = (codes.flatten(2).var(-1) + 1e-6).sqrt()
    scale, shift = block.scale(deviation)[..., None, None], block.shift(codes.flatten(2).mean(-1))[..., None, None]
    assert torch.allclose(block(x, codes), F.group_norm(x, 4, eps=1e-6) * scale + shift, atol=1e-6)
    assert block(x, codes[..., :1, :1]).isfinite().all()


def test_positions_are_exact_on_their_grid_and_smooth_elsewhere() -> None:
    positions = Positions((4, 4), 6)
    zero = torch.zeros(1, 4, 4, 6)
    assert torch.equal(positions(zero)[0], positions.grid[0].permute(1, 2, 0))
    with torch.no_grad():
        positions.grid.fill_(0.5)
    assert torch.allclose(positions(torch.zeros(1, 7, 3, 6)), torch.tensor(0.5), atol=1e-5)


@pytest.mark.parametrize("architecture", ["vqgan", "rqvae", "llamagen", "magvit2"])
def test_zero_residual_blocks_start_as_the_identity(architecture: str) -> None:
    tokenizer = make(architecture, initialization="zero-residual")
    x = torch.randn(1, 16, 4, 4)
    for block in tokenizer.modules():
        if isinstance(block, ResnetBlock) and block.conv1.in_channels == 16:
            assert torch.equal(block(x), block.shortcut(x))
        if isinstance(block, AttnBlock) and block.q.in_channels == 16:
            assert torch.equal(block(x), x)
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    assert 0.1 < tokenizer.latents(images).std() < 3
    assert 0.1 < tokenizer(images).reconstruction.std() < 3
