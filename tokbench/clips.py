"""Clips people look at: films (MP4, GIF) and strips of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from tokbench.data.container import need_pyav
from tokbench.errors import TokbenchError, shown
from tokbench.pictures import grid, save_picture, spread, to_pil
from tokbench.results.files import written

FORMATS = (".mp4", ".gif", ".png")
"""What a clip is written as: a film by H.264, a film in every browser and viewer, and a strip of its frames."""

_QUALITY = "14"  # H.264's constant rate factor: no loss that anyone sees, a tenth of the bytes of none at all


def save_clip(clip: Tensor, path: Path, *, fps: float = 25.0, frames: int = 8) -> Path:
    """Write a clip whole or not at all, by the end of the file's name.

    Args:
        clip: uint8 (3, T, H, W), or grey (1, T, H, W).
        fps: frames shown a second. A GIF counts hundredths of a second, so its rate is rounded.
        frames: of a strip, spread evenly over the clip.

    Raises:
        TokbenchError: another name than .mp4, .gif or .png; no PyAV for an .mp4.
    """
    check_format(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return save_picture(strip([clip], frames=frames), path)
    if suffix == ".mp4":
        with growing_mp4(path, fps) as add:
            add(clip)
    else:
        with written(path) as draft:
            _write_gif(clip, draft, fps)
    return path


def check_format(path: Path) -> None:
    """TokbenchError, before any work, for another name than .mp4, .gif or .png, or an .mp4 without PyAV."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise TokbenchError(f"{path}: a clip is written as {', '.join(FORMATS)}, not as {shown(suffix)}")
    if suffix == ".mp4":
        need_pyav()


def playable(fps: float) -> float:
    """Frames a second to show a clip at: 25 where the rate in its file is not plausible."""
    return fps if 0 < fps < 1000 else 25.0


def strip(clips: Sequence[Tensor], *, frames: int = 8, titles: Sequence[str] = (), zoom: int = 1) -> Image.Image:
    """Clips (3, T, H, W) of one size, a row each, as ``frames`` of their frames from the first to the last."""
    return grid([spread(clip, frames) for clip in clips], columns=titles, zoom=zoom)


def film(rows: Sequence[Sequence[Tensor]], *, columns: Sequence[str] = (), zoom: int = 1) -> Tensor:
    """Rows of clips uint8 (C, T, H, W) of one size as one clip (3, T, H', W'), with a heading over each column."""
    frames = [
        np.asarray(grid([[clip[:, t] for clip in row] for row in rows], columns=columns, zoom=zoom).convert("RGB"))
        for t in range(rows[0][0].shape[1])
    ]
    return rearrange(torch.from_numpy(np.stack(frames)), "t h w c -> c t h w")


def _write_gif(clip: Tensor, path: Path, fps: float) -> None:
    pictures = [to_pil(clip[:, t]).convert("RGB").quantize(256, dither=Image.Dither.NONE) for t in range(clip.shape[1])]
    hundredths = max(2, round(100 / fps))  # viewers show what is shorter at a tenth of the speed
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=10 * hundredths, loop=0)


@contextmanager
def growing_mp4(path: Path, fps: float) -> Iterator[Callable[[Tensor], None]]:
    """A function that takes the next frames, uint8 (C, T, H, W), of a film that is written whole or not at all.

    H.264 with chroma at half the resolution, which is what browsers show; an odd side gets its last line again.
    """
    av = need_pyav()
    with written(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        # The same bytes on any machine and every time: what it writes depends on the number of its threads, and its
        # vector code reads memory that nobody wrote. Without that code a frame of 256x256 takes 8 ms instead of 2.
        stream.thread_count = 1
        stream.options = {"crf": _QUALITY, "preset": "medium", "x264-params": "asm=0"}

        def add(clip: Tensor) -> None:
            _, _, height, width = clip.shape
            frames = clip.permute(1, 2, 3, 0).expand(-1, -1, -1, 3).cpu().numpy()
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:
                stream.width, stream.height = frames.shape[2], frames.shape[1]
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))

        yield add
        container.mux(stream.encode(None))
