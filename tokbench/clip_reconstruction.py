"""A video of any size through a tokenizer of clips, and back as a film."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from tokbench.clips import film, save_clip
from tokbench.data.pixels import to_float, to_uint8
from tokbench.data.video import Video
from tokbench.errors import TokbenchError, size_text
from tokbench.models import Tokenizer
from tokbench.models.streaming import decode_pieces, encode_pieces, pieces, takes_pieces
from tokbench.models.tokenizer import pad_to_multiple
from tokbench.reconstruction import padded_sides, psnr_and_ssim

_PIECE = 16  # frames that are in the networks at a time, where they are causal


@dataclass(frozen=True)
class ClipReconstruction:
    """A clip through its codes: uint8 (C, T, H, W) on the CPU, and int64 codes (*grid, D), padding included.

    PSNR and SSIM are means over the frames; SSIM is NaN where a frame is smaller than its window.
    """

    original: Tensor
    clip: Tensor
    codes: Tensor
    bits_per_pixel: float
    psnr: float
    ssim: float


def reconstruct_clip(tokenizer: Tokenizer, clip: Tensor) -> ClipReconstruction:
    """Clip uint8 (C, T, H, W) of any sides and length: what the tokenizer does not divide is padded, the borders by
    reflection and the end by its last frame, and cropped again. The tokenizer is in evaluation mode.

    Raises:
        TokbenchError: a tokenizer of images, or of one size of clips only.
    """
    codes = encode_clip(tokenizer, clip)
    made = decode_clip(tokenizer, codes, tuple(clip.shape[1:]))
    bits = tokenizer.quantizer.bits_of(codes.shape[1:-1]) / math.prod(clip.shape[1:])
    figures = psnr_and_ssim(*(rearrange(x, "c t h w -> t c h w") for x in (clip, made)))
    return ClipReconstruction(clip, made, codes[0].cpu(), bits, *figures)


@torch.no_grad()
def encode_clip(tokenizer: Tokenizer, clip: Tensor) -> Tensor:
    """Clip uint8 (C, T, H, W) -> codes (1, *grid, D), those of the padding included, on the tokenizer's device: in
    pieces where the networks are causal, else the clip at once. Raises as ``reconstruct_clip``."""
    model = tokenizer.config.model
    if len(model.factors) != 3:
        raise TokbenchError(f"this is a video, and the tokenizer's {model.architecture} takes images")
    frames, _ = pad_to_multiple(rearrange(clip, "c t h w -> t c h w"), tuple(model.factors[1:]))
    more = _padded(tokenizer, tuple(clip.shape[1:]))[0] - clip.shape[1]
    frames = torch.cat([frames, frames[-1:].expand(more, -1, -1, -1)])
    video = rearrange(to_float(frames), "t c h w -> 1 c t h w").to(next(tokenizer.parameters()).device)
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
    if tuple(made.shape[2:]) != _padded(tokenizer, size):
        raise TokbenchError(f"the tokenizer makes clips of {size_text(tokenizer.config.image_size)} only: cut this one")
    return to_uint8(made[0, :, : size[0], : size[1], : size[2]])


def _padded(tokenizer: Tokenizer, size: tuple[int, ...]) -> tuple[int, ...]:
    """The frames, height and width that the networks are given for a clip of ``size``."""
    model = tokenizer.config.model
    count, *sides = size
    frames = count + (int(model.causal) - count) % model.factors[0]
    return frames, *padded_sides(sides, model.factors[1:])


def reconstruct_video_file(
    tokenizer: Tokenizer, path: Path, out: Path, name: str, most: int
) -> tuple[ClipReconstruction, int]:
    """Write ``out/NAME.mp4`` and ``out/side-by-side/NAME.mp4`` of the first ``most`` frames; also how many there are.

    Raises:
        UnreadableVideo: not a video, or a damaged one.
        TokbenchError: as ``reconstruct_clip``.
    """
    with Video(path, name=str(path)) as video:
        frames = torch.from_numpy(video.frames(range(min(most, len(video)))))
        fps, total = float(video.rate), len(video)
    clip = rearrange(frames, "t h w c -> c t h w")
    if tokenizer.config.channels == 1:
        raise TokbenchError(f"{path}: the tokenizer has one channel and videos have three")
    made = reconstruct_clip(tokenizer, clip)
    save_clip(made.clip, out / f"{name}.mp4", fps=fps)
    beside = film([[clip, made.clip]], columns=["original", "reconstruction"])
    save_clip(beside, out / "side-by-side" / f"{name}.mp4", fps=fps)
    return made, total
