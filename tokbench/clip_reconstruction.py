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
from tokbench.reconstruction import psnr_and_ssim

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
    model = tokenizer.config.model
    if len(model.factors) != 3:
        raise TokbenchError(f"this is a video, and the tokenizer's {model.architecture} takes images")
    weight = next(tokenizer.parameters())
    count, (stride, *sides) = clip.shape[1], model.factors
    frames, (height, width) = pad_to_multiple(rearrange(clip, "c t h w -> t c h w"), tuple(sides))
    more = (int(model.causal) - count) % stride
    frames = torch.cat([frames, frames[-1:].expand(more, -1, -1, -1)])
    video = rearrange(to_float(frames), "t c h w -> 1 c t h w")
    try:
        codes, made = _through(tokenizer, video.to(weight.device))
    except ValueError as error:
        raise TokbenchError(str(error)) from None
    if made.shape != video.shape:
        raise TokbenchError(f"the tokenizer makes clips of {size_text(tokenizer.config.image_size)} only: cut this one")
    made = to_uint8(made[0, :, :count, :height, :width])
    bits = math.prod(codes.shape[1:-1]) * tokenizer.quantizer.bits_per_vector / (count * height * width)
    figures = psnr_and_ssim(*(rearrange(x, "c t h w -> t c h w") for x in (clip, made)))
    return ClipReconstruction(clip, made, codes[0].cpu(), bits, *figures)


@torch.no_grad()
def _through(tokenizer: Tokenizer, video: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and pixels: in pieces where the networks are causal, else the clip at once."""
    if not takes_pieces(tokenizer):
        codes = tokenizer.encode(video)
        return codes, tokenizer.decode(codes).cpu()
    parts = list(encode_pieces(tokenizer, pieces(video, tokenizer.config.model.factors[0], _PIECE)))
    return torch.cat(parts, 1), torch.cat([x.cpu() for x in decode_pieces(tokenizer, parts)], 2)


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
