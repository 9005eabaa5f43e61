"""Causal layers against the official modules' outputs, and against what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.models.causal import CausalConv3d, CausalResidual, CausalStream, ClipGroupNorm, norm3d
from tokbench.models.patches3d import Patches3d, Unpatches3d
from tokbench.models.resampling3d import AdaptiveNorm3d, DepthToSpace3d, depth_to_space3d


def arrays(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(path).items()}


def state_of(data: dict[str, Tensor], prefix: str, names: dict[str, str]) -> dict[str, Tensor]:
    """The weights behind ``prefix`` by our names."""
    return {ours: data[prefix + theirs] for theirs, ours in names.items() if prefix + theirs in data}


def load(module: nn.Module, data: dict[str, Tensor], prefix: str, names: dict[str, str]) -> Any:
    both = {
        f"{theirs}.{kind}": f"{ours}.{kind}".lstrip(".")
        for theirs, ours in names.items()
        for kind in ("weight", "bias")
    }
    module.load_state_dict(state_of(data, prefix, both))
    return module


@pytest.fixture(scope="module")
def o2(golden_video: Path) -> dict[str, Tensor]:
    return arrays(golden_video / "o2magvit2_modules.npz")


@pytest.mark.parametrize(
    ("name", "stride"), [("conv_k3", (1, 1, 1)), ("conv_s122", (1, 2, 2)), ("conv_s222", (2, 2, 2))]
)
@pytest.mark.parametrize("frames", [1, 5, 6])
def test_convolution_is_the_official_one(
    o2: dict[str, Tensor], name: str, stride: tuple[int, int, int], frames: int
) -> None:
    conv = load(CausalConv3d(3, 4, stride=stride), o2, f"{name}/state/", {"conv": ""})
    with torch.no_grad():
        assert torch.allclose(conv(o2["conv/in"][:, :, :frames]), o2[f"{name}/T{frames}/out"], atol=1e-6)


@torch.no_grad()
def test_norms_and_residual_block_are_the_official_ones(o2: dict[str, Tensor]) -> None:
    x = o2["block/in"]
    norm = norm3d(32, 8, "frame", 1e-5)
    norm.load_state_dict({kind: o2[f"groupnorm8/state/{kind}"] for kind in ("weight", "bias")})
    assert torch.allclose(norm(x), o2["groupnorm8/out"], atol=1e-6)
    adaptive = load(
        AdaptiveNorm3d(32, 10, 1, "position", 8, "frame", 1e-5),
        o2,
        "adaptive/state/",
        {"gamma": "scale", "beta": "shift"},
    )
    assert torch.allclose(adaptive(x, o2["adaptive/emb"]), o2["adaptive/out"], atol=1e-6)
    names = {
        "norm_0.norm_fn": "norm1",
        "conv_0.conv": "conv1",
        "norm_1.norm_fn": "norm2",
        "conv_1.conv": "conv2",
        "conv_shortcut.conv": "shortcut",
    }
    block = load(CausalResidual(32, 64, 32, "frame", 1e-5), o2, "resblock_32_64/state/", names)
    assert torch.allclose(block(x), o2["resblock_32_64/out"], atol=2e-6)


def test_depth_to_space_has_the_official_order(o2: dict[str, Tensor], golden_video: Path) -> None:
    x = o2["depth_to_space/in_channels_last"].permute(0, 4, 1, 2, 3)
    for name, factors in (("t2", (2, 2, 2)), ("t1", (1, 2, 2))):
        wanted = o2[f"depth_to_space/{name}"].permute(0, 4, 1, 2, 3)
        assert torch.equal(depth_to_space3d(x, factors), wanted)
    seed = arrays(golden_video / "seed_voken_upsampler.npz")
    assert torch.equal(depth_to_space3d(seed["d2s_in"], (2, 2, 2)), seed["d2s_out"])


@torch.no_grad()
def test_upsampling_that_drops_the_second_frame(golden_video: Path) -> None:
    data = arrays(golden_video / "seed_voken_upsampler.npz")
    up = load(DepthToSpace3d(4, 2, "second"), data, "state/", {"conv1.conv_1": "conv"})
    assert torch.allclose(up(data["input"]), data["output"], atol=1e-6)
    assert torch.allclose(up(data["input"][:, :, :1]), data["output_one_frame"], atol=1e-6)


def test_haar_bands_are_the_official_ones_and_invert(golden_video: Path) -> None:
    data = arrays(golden_video / "cosmos.npz")
    assert torch.allclose(Patches3d(2)(data["haar_in"]), data["haar_out"], atol=1e-6)
    assert torch.allclose(Unpatches3d(2)(data["haar_out"]), data["haar_back"], atol=1e-6)
    x = torch.randn(2, 3, 9, 8, 16, generator=torch.Generator().manual_seed(0))
    for method in ("haar", "rearrange"):
        for size in (1, 2, 4):
            patches = Patches3d(size, method)(x)
            assert patches.shape == (2, 3 * size**3, 1 + 8 // size, 8 // size, 16 // size)
            assert torch.allclose(Unpatches3d(size, method)(patches), x, atol=1e-5), (method, size)


@torch.no_grad()
@pytest.mark.parametrize("before", ["zeros", "first-frame"])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_in_pieces_is_the_whole(before: Any, stride: int) -> None:
    torch.manual_seed(0)
    conv = CausalConv3d(2, 3, stride=(stride, 1, 1), before=before)
    x = torch.randn(1, 2, 9, 4, 5)
    whole, stream = conv(x), CausalStream(conv)
    parts = [stream(x[:, :, a:b]) for a, b in ((0, 1), (1, 5), (5, 9))]
    assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-6)
    assert torch.equal(conv(x), whole), "beside a stream the layer is as it was"
    assert torch.allclose(conv(x[:, :, :3]), whole[:, :, : 1 + 2 // stride], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("by", ["position", "frame"])
def test_adaptive_norm_sees_its_own_frame_only(by: Any) -> None:
    torch.manual_seed(0)
    norm = AdaptiveNorm3d(8, 4, 2, by, groups=2)
    x, codes = torch.randn(2, 8, 5, 4, 6), torch.randn(2, 4, 3, 2, 3)
    out = norm(x, codes)
    later = codes.clone()
    later[:, :, 2] += 1  # of frames 3 and 4
    changed = (norm(x, later) - out).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert changed.tolist() == [False, False, False, True, True]


def test_adaptive_norm_over_the_clip_is_the_image_tokenizers_on_a_frame() -> None:
    from tokbench.models.blocks import AdaptiveGroupNorm

    torch.manual_seed(0)
    flat = AdaptiveGroupNorm(8, 4, groups=2)
    x, codes = torch.randn(2, 8, 1, 4, 6), torch.randn(2, 4, 1, 2, 3)
    for by in ("clip", "frame"):
        norm = AdaptiveNorm3d(8, 4, 1, by, groups=2)
        norm.load_state_dict(flat.state_dict())
        assert torch.allclose(norm(x, codes)[:, :, 0], flat(x[:, :, 0], codes[:, :, 0]), atol=1e-5)


def test_layers_that_see_the_whole_clip_take_no_pieces() -> None:
    with pytest.raises(TokbenchError, match="ClipGroupNorm looks at every frame"):
        CausalStream(nn.Sequential(ClipGroupNorm(2, 4)))
