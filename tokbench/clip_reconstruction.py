"""A video of any size through a tokenizer of clips, and back as a film."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from tokbench.clips import film, growing_mp4, playable
from tokbench.data.film import Film
from tokbench.data.pixels import to_float, to_uint8
from tokbench.data.video import Video
from tokbench.errors import TokbenchError, size_text
from tokbench.models import Tokenizer
from tokbench.models.streaming import decode_pieces, encode_pieces, pieces, takes_pieces
from tokbench.models.tokenizer import pad_to_multiple
from tokbench.reconstruction import padded_sides, psnr_and_ssim

_PIECE = 16  # frames that are in the networks at a time, where they are causal


@dataclass(frozen=True)
class Piece:
    """Some frames of a clip through its codes: uint8 (C, t, H, W) twice and int64 codes (t', h, w, D), padding
    included, on the CPU."""

    original: Tensor
    made: Tensor
    codes: Tensor


@dataclass(frozen=True)
class FilmReconstruction:
    """What is said of a video of (T, H, W) and its code stack, padding included; ``total`` has all the file's frames.

    PSNR and SSIM are means over the frames; SSIM is NaN where a frame is smaller than its window.
    """

    size: tuple[int, ...]
    total: int
    codes: tuple[int, ...]
    bits_per_pixel: float
    psnr: float
    ssim: float


@torch.no_grad()
def reconstruct_pieces(tokenizer: Tokenizer, given: Iterable[Tensor], size: tuple[int, ...]) -> Iterator[Piece]:
    """A clip of ``size`` (T, H, W), any, in pieces as ``tokbench.models.streaming.pieces`` cuts them: uint8 (C, t, H,
    W), which are asked for one by one where the networks are causal; else they go through at once.

    What the tokenizer does not divide is padded, the borders by reflection and the end by its last frame, and cropped
    again. The tokenizer is in evaluation mode.

    Raises:
        TokbenchError: a tokenizer of images, or of one size of clips only.
    """
    if not takes_pieces(tokenizer):
        clip = torch.cat(list(given), 1)
        codes = encode_clip(tokenizer, clip)
        yield Piece(clip, decode_clip(tokenizer, codes, size), codes[0].cpu())
        return
    originals, coded = deque[Tensor](), deque[Tensor]()

    def padded() -> Iterator[Tensor]:
        done = 0
        for piece in given:
            originals.append(piece)
            done += piece.shape[1]
            yield _padded(tokenizer, piece, _padded_size(tokenizer, size)[0] - done if done == size[0] else 0)

    def codes_of() -> Iterator[Tensor]:
        for codes in encode_pieces(tokenizer, padded()):
            coded.append(codes[0].cpu())
            yield codes

    for video in decode_pieces(tokenizer, codes_of()):
        original = originals.popleft()
        made = to_uint8(video[0, :, : original.shape[1], : size[1], : size[2]].cpu())
        yield Piece(original, made, coded.popleft())


@torch.no_grad()
def encode_clip(tokenizer: Tokenizer, clip: Tensor) -> Tensor:
    """Clip uint8 (C, T, H, W) -> codes (1, *grid, D), those of the padding included, on the tokenizer's device: in
    pieces where the networks are causal, else the clip at once. Raises as ``reconstruct_pieces``."""
    model = tokenizer.config.model
    if len(model.factors) != 3:
        raise TokbenchError(f"this is a video, and the tokenizer's {model.architecture} takes images")
    video = _padded(tokenizer, clip, _padded_size(tokenizer, tuple(clip.shape[1:]))[0] - clip.shape[1])
    try:
        if not takes_pieces(tokenizer):
            return tokenizer.encode(video)
        return torch.cat(list(encode_pieces(tokenizer, pieces(video, model.factors[0], _PIECE))), 1)
    except ValueError as error:
        raise TokbenchError(str(error)) from None


@torch.no_grad()
def decode_clip(tokenizer: Tokenizer, codes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Codes of ``encode_clip``, or a prefix of them -> the clip uint8 (C, T, H, W) of that size, on the CPU."""
    if takes_pieces(tokenizer):
        length = -(-_PIECE // tokenizer.config.model.factors[0])  # of the pieces that were encoded, after a first code
        parts = [codes[:, : 1 + length], *codes[:, 1 + length :].split(length, 1)]
        made = torch.cat([x.cpu() for x in decode_pieces(tokenizer, (p for p in parts if p.shape[1]))], 2)
    else:
        made = tokenizer.decode(codes).cpu()
    if tuple(made.shape[2:]) != _padded_size(tokenizer, size):
        raise TokbenchError(f"the tokenizer makes clips of {size_text(tokenizer.config.image_size)} only: cut this one")
    return to_uint8(made[0, :, : size[0], : size[1], : size[2]])


def _padded(tokenizer: Tokenizer, clip: Tensor, more: int) -> Tensor:
    """Clip uint8 (C, T, H, W) as the networks take it, with its last frame ``more`` times again: (1, C, T', H', W')."""
    factors = tokenizer.config.model.factors
    frames, _ = pad_to_multiple(rearrange(clip, "c t h w -> t c h w"), tuple(factors[1:]))
    frames = torch.cat([frames, frames[-1:].expand(more, -1, -1, -1)])
    return rearrange(to_float(frames), "t c h w -> 1 c t h w").to(next(tokenizer.parameters()).device)


def _padded_size(tokenizer: Tokenizer, size: tuple[int, ...]) -> tuple[int, ...]:
    """The frames, height and width that the networks are given for a clip of ``size``."""
    model = tokenizer.config.model
    count, *sides = size
    frames = count + (int(model.causal) - count) % model.factors[0]
    return frames, *padded_sides(sides, model.factors[1:])


def reconstruct_video_file(tokenizer: Tokenizer, path: Path, out: Path, name: str, most: int) -> FilmReconstruction:
    """Write ``out/NAME.mp4`` and ``out/side-by-side/NAME.mp4`` of the first ``most`` frames, in the memory of a piece
    where the networks are causal.

    Raises:
        UnreadableVideo: not a video, or a damaged one.
        TokbenchError: as ``reconstruct_pieces``.
    """
    if tokenizer.config.channels == 1:
        raise TokbenchError(f"{path}: the tokenizer has one channel and videos have three")
    with Video(path, name=str(path)) as video:
        read, rate = Film(video, most), playable(float(video.rate))
        step = -(-_PIECE // tokenizer.config.model.factors[0]) * tokenizer.config.model.factors[0]
        films = (out / f"{name}.mp4", out / "side-by-side" / f"{name}.mp4")
        quality = torch.zeros(2, dtype=torch.float64)
        codes: list[tuple[int, ...]] = []
        with growing_mp4(films[0], rate) as add, growing_mp4(films[1], rate) as add_beside:
            for piece in reconstruct_pieces(tokenizer, read.pieces(1 + step, step), read.size):
                add(piece.made)
                add_beside(film([[piece.original, piece.made]], columns=["original", "reconstruction"]))
                pair = (rearrange(x, "c t h w -> t c h w") for x in (piece.original, piece.made))
                quality += piece.made.shape[1] * torch.tensor(psnr_and_ssim(*pair), dtype=torch.float64)
                codes.append(tuple(piece.codes.shape))
    stack = (sum(shape[0] for shape in codes), *codes[0][1:])
    bits = tokenizer.quantizer.bits_of(stack[:-1]) / math.prod(read.size)
    return FilmReconstruction(read.size, len(video), stack, bits, *(quality / read.size[0]).tolist())
