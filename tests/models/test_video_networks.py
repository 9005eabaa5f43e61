"""What the networks of videos promise: no frame sees a later one, an image is a clip, pieces make the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokbench.config.video_model import CosmosDVConfig, MAGVIT2VideoConfig, VidTokConfig
from tokbench.errors import TokbenchError
from tokbench.models.causal import CausalStream
from tokbench.models.cosmos_dv import build as cosmos
from tokbench.models.magvit2_video import build as magvit2
from tokbench.models.vidtok import build as vidtok

Networks = tuple[nn.Module, nn.Module]
MADE: dict[str, Callable[[], Networks]] = {
    "magvit2-video": lambda: magvit2(_magvit2(), 16, 4, 3),
    "magvit2-video by frame": lambda: magvit2(_magvit2(adaptive="frame", padding="first-frame"), 16, 4, 3),
    "vidtok": lambda: vidtok(_vidtok(), 16, 4, 3),
    "vidtok 1.1": lambda: vidtok(_vidtok(release="1.1", norm="group"), 16, 4, 3),
    "cosmos-dv": lambda: cosmos(_cosmos(), 16, 4, 3),
}


def _magvit2(**settings: Any) -> MAGVIT2VideoConfig:
    shape = {"channels": 8, "multipliers": (1, 2, 2), "blocks": 1, "halve_frames": (True, True), "norm_groups": 4}
    return MAGVIT2VideoConfig(**{**shape, **settings})


def _vidtok(**settings: Any) -> VidTokConfig:
    return VidTokConfig(channels=8, multipliers=(1, 1, 2), blocks=1, down_frames=(0, 1), up_frames=(2, 1), **settings)


def _cosmos() -> CosmosDVConfig:
    return CosmosDVConfig(
        channels=8,
        multipliers=(1, 1, 2),
        blocks=1,
        latent_channels=4,
        patch_size=2,
        spatial_compression=4,
        temporal_compression=4,
        attention_levels=(2,),
    )


@pytest.fixture(params=sorted(MADE))
def networks(request: pytest.FixtureRequest) -> Networks:
    """Encoder and decoder that take 4x4x4 to 1, with random weights everywhere."""
    torch.manual_seed(0)
    made = MADE[request.param]()
    with torch.no_grad():
        for network in made:
            for parameter in network.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made


def clip(frames: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, frames, 8, 12, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def close(got: Tensor, wanted: Tensor) -> bool:
    return got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_first_frames_alone_are_those_of_the_clip(networks: Networks) -> None:
    encoder, decoder = networks
    x = clip(9)
    z = encoder(x)
    y = decoder(z)
    assert z.shape == (1, 4, 3, 2, 3) and y.shape == x.shape
    for latents, frames in ((1, 1), (2, 5)):
        assert close(encoder(x[:, :, :frames]), z[:, :, :latents])
        assert close(decoder(z[:, :, :latents]), y[:, :, :frames])


@torch.no_grad()
def test_every_later_frame_counts(networks: Networks) -> None:
    """And a change in one changes what comes from then on, so that the test above is not empty."""
    encoder, decoder = networks
    x = clip(9)
    z = encoder(x)
    other = x.clone()
    other[:, :, 6] += 0.5
    changed = (encoder(other) - z).abs().amax(dim=(0, 1, 3, 4))
    assert changed[:2].max() < 1e-5 < 1e-3 < changed[2]
    later = z.clone()
    later[:, :, 1] += 0.5
    changed = (decoder(later) - decoder(z)).abs().amax(dim=(0, 1, 3, 4))
    assert changed[0] < 1e-5 and changed[1:].min() > 1e-4


@torch.no_grad()
def test_a_batch_is_its_clips(networks: Networks) -> None:
    encoder, decoder = networks
    x = torch.cat([clip(5, 1), clip(5, 2)])
    z = encoder(x)
    assert close(z[1:], encoder(x[1:])) and close(decoder(z)[:1], decoder(z[:1]))


def test_all_weights_have_gradients(networks: Networks) -> None:
    encoder, decoder = networks
    (decoder(encoder(clip(5))).square().mean()).backward()
    lacking = [name for network in networks for name, p in network.named_parameters() if p.grad is None]
    assert not lacking
    assert decoder.last_layer.grad is not None  # type: ignore[union-attr]


STREAMS = [name for name in MADE if name != "cosmos-dv"]
CUTS = [(17, 16), (1, 4), (5, 12)]
# By default each of the networks at one cut, and each cut with one of them.
PIECES = [
    pytest.param(name, *cut, marks=() if k % len(CUTS) == j else pytest.mark.slow)
    for k, name in enumerate(STREAMS)
    for j, cut in enumerate(CUTS)
]


def _parts(x: Tensor, first: int, rest: int) -> Iterator[Tensor]:
    yield x[:, :, :first]
    for start in range(first, x.shape[2], rest):
        yield x[:, :, start : start + rest]


@torch.no_grad()
@pytest.mark.parametrize(("networks", "first", "rest"), PIECES, indirect=["networks"])
def test_pieces_are_the_whole_in_the_memory_of_one(networks: Networks, first: int, rest: int) -> None:
    """57 frames: the largest map that any layer makes is that of a single piece."""
    encoder, decoder = networks
    x = clip(57)
    z = encoder(x)
    y = decoder(z)
    largest = [0]

    def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
        largest[0] = max(largest[0], output.numel())

    handles = [module.register_forward_hook(look) for network in networks for module in network.modules()]
    decoder(encoder(x[:, :, : max(first, rest + 2)][:, :, : 1 + 4 * (rest // 4)]))  # a clip as long as a piece
    one, largest[0] = largest[0], 0
    encode, decode = CausalStream(encoder), CausalStream(decoder)
    latents = [encode(part) for part in _parts(x, first, rest)]
    frames = [decode(part) for part in _parts(z, 1 + first // 4, rest // 4)]
    for handle in handles:
        handle.remove()
    assert close(torch.cat(latents, dim=2), z) and close(torch.cat(frames, dim=2), y)
    assert largest[0] <= one
    assert close(encoder(x[:, :, :5]), z[:, :, :2]), "nothing is left behind"


def test_what_sees_the_whole_clip_takes_no_pieces() -> None:
    clip_wide = magvit2(_magvit2(norm_over="clip", adaptive="clip"), 16, 4, 3)
    for network, layer in (
        (clip_wide[0], "ClipGroupNorm"),
        (clip_wide[1], "ClipGroupNorm"),
        (cosmos(_cosmos(), 16, 4, 3)[0], "TimeAttention"),
        (vidtok(_vidtok(interpolation="linear"), 16, 4, 3)[1], "TimeUp"),
    ):
        with pytest.raises(TokbenchError, match=f"{layer} looks at every frame"):
            CausalStream(network)
