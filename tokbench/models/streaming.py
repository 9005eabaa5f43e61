"""Videos of any length through a causal tokenizer, piece by piece, in the memory that one piece takes.

>>> codes = list(encode_pieces(tokenizer, pieces(video, stride=4)))
>>> video = torch.cat(list(decode_pieces(tokenizer, codes)), dim=2)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tokbench.allocator import freed_at_once
from tokbench.config.video_model import VideoArchitecture
from tokbench.errors import TokbenchError

from .causal import CausalStream, looks_at_every_frame

if TYPE_CHECKING:
    from .tokenizer import Tokenizer


def takes_pieces(tokenizer: Tokenizer) -> bool:
    """Whether ``encode_pieces`` and ``decode_pieces`` serve this tokenizer: one of videos, causal throughout."""
    networks = (tokenizer.encoder, tokenizer.decoder)
    causal = all(looks_at_every_frame(network) is None for network in networks)
    anywhere = not tokenizer.quantizer.position_sizes((1,))  # the same codes at every position
    return causal and anywhere and isinstance(tokenizer.config.model, VideoArchitecture)


def pieces(video: Tensor, stride: int, frames: int = 16) -> Iterator[Tensor]:
    """(B, C, 1 + n, H, W) in time: first ``1 + frames`` of it, then ``frames`` each, rounded up to the ``stride``."""
    step = -(-frames // stride) * stride
    yield video[:, :, : 1 + step]
    for start in range(1 + step, video.shape[2], step):
        yield video[:, :, start : start + step]


@torch.no_grad()
def encode_pieces(tokenizer: Tokenizer, videos: Iterable[Tensor]) -> Iterator[Tensor]:
    """The pieces of one clip (B, C, T, H, W), in order, to their codes (B, T', h, w, D).

    The first has 1 + n*t frames, every other n*t, t being the frames of a latent: their codes are those of the whole.

    Raises:
        ValueError: a piece of another number of frames.
        TokbenchError: a tokenizer that looks at the whole clip.
    """
    model = tokenizer.config.model
    if not isinstance(model, VideoArchitecture):
        raise TokbenchError(f"a {model.architecture} tokenizer takes images, which have no frames to take in pieces")
    if tokenizer.quantizer.position_sizes((1,)):
        raise TokbenchError(
            f"the codes of {tokenizer.quantizer.name} depend on the length of the clip: encode it at once"
        )
    stride, first = model.frame_downsampling, 1
    encoder = CausalStream(tokenizer.encoder)
    for video in videos:
        if video.shape[2] % stride != first % stride or video.shape[2] < 1:
            wanted = f"1, {1 + stride}, {1 + 2 * stride}" if first else f"{stride}, {2 * stride}"
            which = "the first piece" if first else "a piece after the first"
            raise ValueError(f"{which} has {video.shape[2]} frames; it must have {wanted} ...")
        first = 0
        with freed_at_once():
            codes = tokenizer.quantizer.encode(encoder(video))
        yield codes


@torch.no_grad()
def decode_pieces(tokenizer: Tokenizer, codes: Iterable[Tensor]) -> Iterator[Tensor]:
    """The codes (B, T', h, w, D) of one clip in pieces of any length, in order, to its frames (B, C, T, H, W)."""
    weight = next(tokenizer.decoder.parameters())
    decoder = CausalStream(tokenizer.decoder)
    for piece in codes:
        with freed_at_once():
            video = decoder(tokenizer.quantizer.decode(piece).to(weight.dtype))
        yield video
